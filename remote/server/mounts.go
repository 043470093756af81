package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/names"
)

// Mount is remote.Sharing's. The member row names the node before the tree has it, so a
// mount that was cut short is completed by the next try.
func (se *Session) Mount(ctx context.Context, ns dbfs.NamespaceID, path string) (dbfs.NodeID, error) {
	if err := se.allowed(ctx, ns, dbfs.RoleRead); err != nil {
		return dbfs.NodeID{}, err
	}
	row, err := se.s.namespace(ctx, ns)
	if err != nil {
		return dbfs.NodeID{}, err
	}
	if row.Root {
		return dbfs.NodeID{}, fmt.Errorf("%w: %q is an account's own namespace and cannot be mounted", dbfs.ErrInvalid, row.Name)
	}
	dirs, name, err := splitPath(path)
	if err != nil {
		return dbfs.NodeID{}, err
	}
	a, err := se.s.account(ctx, se.account)
	if err != nil {
		return dbfs.NodeID{}, err
	}
	return se.s.mount(ctx, ns, a, dirs, name)
}

func (s *Server) mount(ctx context.Context, ns dbfs.NamespaceID, a accountRow, dirs []string, name string) (dbfs.NodeID, error) {
	id, err := s.chooseMount(ctx, ns, a)
	if err != nil {
		return dbfs.NodeID{}, err
	}
	err = s.commitOwn(ctx, a.Root, a.ID, func(tx ReadTx) ([]dbfs.Op, error) {
		parent, err := walk(tx, dirs)
		if err != nil {
			return nil, err
		}
		return []dbfs.Op{{
			Type: dbfs.OpCreate, Node: id, Parent: parent, Name: name, Kind: dbfs.KindMount, Mount: ns,
			Attr: dbfs.Attr{Mode: 0o755, MTime: s.now().UnixNano()},
		}}, nil
	})
	return id, err
}

// chooseMount writes the id of the mount's node into the member row: the one it has, unless
// that was used up by a mount that is gone.
func (s *Server) chooseMount(ctx context.Context, ns dbfs.NamespaceID, a accountRow) (dbfs.NodeID, error) {
	m, err := s.changeMember(ctx, ns, a.ID, func(m *memberRow) error {
		node, err := s.node(ctx, a.Root, m.Mount)
		switch {
		case m.Mount == (dbfs.NodeID{}) || err == nil && node.Deleted:
			m.Mount = dbfs.NewNodeID(s.now())
			return nil
		case errors.Is(err, dbfs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("a mount of this namespace, %q, %w", node.Name, dbfs.ErrExist)
	})
	return m.Mount, err
}

// Unmount is remote.Sharing's.
func (se *Session) Unmount(ctx context.Context, ns dbfs.NamespaceID) error {
	if err := se.allowed(ctx, ns, dbfs.RoleRead); err != nil {
		return err
	}
	a, err := se.s.account(ctx, se.account)
	if err != nil {
		return err
	}
	return se.s.unmount(ctx, ns, a)
}

// unmount deletes the node that shows the namespace in the account's tree, if there is one.
func (s *Server) unmount(ctx context.Context, ns dbfs.NamespaceID, a accountRow) error {
	m, err := s.member(ctx, ns, a.ID)
	if err != nil || m.Mount == (dbfs.NodeID{}) {
		return err
	}
	return s.commitOwn(ctx, a.Root, a.ID, func(tx ReadTx) ([]dbfs.Op, error) {
		node, err := tx.Node(m.Mount)
		if errors.Is(err, dbfs.ErrNotExist) || err == nil && node.Deleted {
			return nil, nil
		}
		return []dbfs.Op{{Type: dbfs.OpDelete, Node: m.Mount, Base: node.Revs}}, err
	})
}

// Leave is remote.Sharing's.
func (se *Session) Leave(ctx context.Context, ns dbfs.NamespaceID) error {
	if err := se.allowed(ctx, ns, dbfs.RoleRead); err != nil {
		return err
	}
	a, err := se.s.account(ctx, se.account)
	if err != nil {
		return err
	}
	return se.s.setRole(ctx, ns, a, dbfs.RoleNone)
}

func (s *Server) node(ctx context.Context, ns dbfs.NamespaceID, id dbfs.NodeID) (n dbfs.Node, err error) {
	err = s.store.View(ctx, ns, func(tx ReadTx) error {
		n, err = tx.Node(id)
		return err
	})
	return n, err
}

// splitPath cuts "/a/b/c" into the directories a, b and the name c.
func splitPath(path string) (dirs []string, name string, err error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for _, part := range parts {
		if err := dbfs.CheckName(part); err != nil {
			return nil, "", fmt.Errorf("path %q: %w", path, err)
		}
	}
	return parts[:len(parts)-1], parts[len(parts)-1], nil
}

// walk finds the directory that names lead to from the root.
func walk(tx ReadTx, path []string) (dbfs.NodeID, error) {
	at := dbfs.RootNode
	head, err := tx.Head()
	if err != nil {
		return at, err
	}
	for _, name := range path {
		id, err := tx.Child(at, names.Key(head.Names, name))
		if err != nil {
			return at, fmt.Errorf("directory %q: %w", name, err)
		}
		node, err := tx.Node(id)
		if err != nil {
			return at, err
		}
		if node.Kind != dbfs.KindDir {
			return at, fmt.Errorf("%q is %w", name, dbfs.ErrNotDir)
		}
		at = id
	}
	return at, nil
}

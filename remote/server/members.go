package server

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// Namespaces and their members. The 'a' row says what an account may do; the 'n' row,
// written before it, only lists whom to look up.
//
//	TableNamespace  'i' namespace          -> namespaceRow
//	TableMember     'a' account, namespace -> memberRow
//	TableMember     'n' namespace, account -> listedRow
type namespaceRow struct {
	Name    string         `json:"name"`
	Owner   dbfs.AccountID `json:"owner"`
	Root    bool           `json:"root,omitempty"` // the owner's own; never shared
	Created time.Time      `json:"created"`
}

type memberRow struct {
	Role  dbfs.Role   `json:"role"`
	Mount dbfs.NodeID `json:"mount,omitzero"` // node in the account's root namespace, perhaps deleted or not yet made
}

type listedRow struct{}

func namespaceKey(ns dbfs.NamespaceID) []byte { return rowKey('i', uint64(ns)) }
func memberKey(a dbfs.AccountID, ns dbfs.NamespaceID) []byte {
	return rowKey('a', uint64(a), uint64(ns))
}
func listedKey(ns dbfs.NamespaceID, a dbfs.AccountID) []byte {
	return rowKey('n', uint64(ns), uint64(a))
}

// lastID returns the last number of a key made by rowKey.
func lastID(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// firstEpoch is that of a log that was never restored to an older state.
const firstEpoch = 1

// addNamespace makes a namespace with its root directory and its owner as the only member.
func (s *Server) addNamespace(ctx context.Context, ns dbfs.NamespaceID, name string, owner dbfs.AccountID, root bool, rule dbfs.NameRule) error {
	err := s.store.Update(ctx, ns, func(tx Tx) error {
		top := dbfs.Node{ID: dbfs.RootNode, Kind: dbfs.KindDir, Attr: dbfs.Attr{Mode: 0o755, MTime: s.now().UnixNano()}}
		top.CTime = top.Attr.MTime
		return errors.Join(tx.SetHead(Head{Epoch: firstEpoch, Names: rule}), tx.PutNode(&top))
	})
	if err != nil {
		return fmt.Errorf("make namespace %q: %w", name, err)
	}
	row := namespaceRow{Name: name, Owner: owner, Root: root, Created: s.now().UTC()}
	if _, err := addRow(ctx, s, TableNamespace, "namespace", namespaceKey(ns), row); err != nil {
		return err
	}
	_, err = s.changeMember(ctx, ns, owner, func(m *memberRow) error {
		m.Role = dbfs.RoleAdmin
		return nil
	})
	return err
}

func (s *Server) namespace(ctx context.Context, ns dbfs.NamespaceID) (namespaceRow, error) {
	return getRow[namespaceRow](ctx, s, TableNamespace, "namespace", namespaceKey(ns))
}

// owner returns the account that made a namespace.
func (s *Server) owner(ctx context.Context, ns dbfs.NamespaceID) (dbfs.AccountID, error) {
	row, err := s.namespace(ctx, ns)
	return row.Owner, err
}

// member returns an account's part in a namespace; that of a stranger is the zero row.
func (s *Server) member(ctx context.Context, ns dbfs.NamespaceID, a dbfs.AccountID) (memberRow, error) {
	m, err := getRow[memberRow](ctx, s, TableMember, "member", memberKey(a, ns))
	if errors.Is(err, dbfs.ErrNotExist) {
		return memberRow{}, nil
	}
	return m, err
}

func (s *Server) changeMember(ctx context.Context, ns dbfs.NamespaceID, a dbfs.AccountID, change func(*memberRow) error) (memberRow, error) {
	if _, err := addRow(ctx, s, TableMember, "member", listedKey(ns, a), listedRow{}); err != nil {
		return memberRow{}, err
	}
	return changeRow(ctx, s, TableMember, "member", memberKey(a, ns), change)
}

// allowed returns nil when the device's account has at least the role in the namespace.
// To a stranger a namespace looks the same whether it exists or not.
func (se *Session) allowed(ctx context.Context, ns dbfs.NamespaceID, role dbfs.Role) error {
	m, err := se.s.member(ctx, ns, se.account)
	if err != nil || m.Role >= role {
		return err
	}
	if m.Role == dbfs.RoleNone {
		return fmt.Errorf("namespace %s: %w to this account", ns, dbfs.ErrForbidden)
	}
	row, err := se.s.namespace(ctx, ns)
	if err != nil {
		return err
	}
	if role == dbfs.RoleWrite {
		return fmt.Errorf("namespace %q is %w for this account", row.Name, dbfs.ErrReadOnly)
	}
	return fmt.Errorf("namespace %q: %w: it wants the role %s, this account has %s", row.Name, dbfs.ErrForbidden, role, m.Role)
}

// Namespaces is dbfs.Meta's: the account's root, then the others by name.
func (se *Session) Namespaces(ctx context.Context) ([]dbfs.Namespace, error) {
	list := []dbfs.Namespace{}
	err := se.s.eachRow(ctx, TableMember, rowKey('a', uint64(se.account)), func(row Row) error {
		var m memberRow
		if err := unmarshalRow("member", row.Value, &m); err != nil {
			return err
		}
		if m.Role == dbfs.RoleNone {
			return nil
		}
		ns, err := se.s.describe(ctx, dbfs.NamespaceID(lastID(row.Key)), m.Role)
		list = append(list, ns)
		return err
	})
	slices.SortFunc(list, func(a, b dbfs.Namespace) int {
		if a.Root != b.Root {
			if a.Root {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}

func (s *Server) describe(ctx context.Context, id dbfs.NamespaceID, role dbfs.Role) (dbfs.Namespace, error) {
	row, err := s.namespace(ctx, id)
	if err != nil {
		return dbfs.Namespace{}, err
	}
	head, err := s.head(ctx, id)
	return dbfs.Namespace{ID: id, Name: row.Name, Root: row.Root, Role: role, Names: head.Names, Cursor: head.cursor()}, err
}

func (s *Server) head(ctx context.Context, ns dbfs.NamespaceID) (h Head, err error) {
	err = s.store.View(ctx, ns, func(tx ReadTx) error {
		h, err = tx.Head()
		return err
	})
	if err != nil {
		return h, fmt.Errorf("read the head of namespace %s: %w", ns, err)
	}
	return h, nil
}

func (h Head) cursor() dbfs.Cursor { return dbfs.Cursor{Epoch: h.Epoch, JID: h.JID} }

// CreateNamespace is remote.Sharing's.
func (se *Session) CreateNamespace(ctx context.Context, name string, rule dbfs.NameRule) (dbfs.Namespace, error) {
	if err := dbfs.CheckName(name); err != nil {
		return dbfs.Namespace{}, err
	}
	if rule > dbfs.NamesPortable {
		return dbfs.Namespace{}, fmt.Errorf("%w: %s is no rule of names", dbfs.ErrInvalid, rule)
	}
	if err := se.nameIsFree(ctx, 0, name); err != nil {
		return dbfs.Namespace{}, err
	}
	ns := dbfs.NamespaceID(dbfs.RandomID())
	if err := se.s.addNamespace(ctx, ns, name, se.account, false, rule); err != nil {
		return dbfs.Namespace{}, err
	}
	return se.s.describe(ctx, ns, dbfs.RoleAdmin)
}

// nameIsFree returns ErrExist if the account has another namespace of that name. Two that are
// made at the same moment may get one name all the same; each is still found by its id.
func (se *Session) nameIsFree(ctx context.Context, but dbfs.NamespaceID, name string) error {
	list, err := se.Namespaces(ctx)
	for _, ns := range list {
		if err == nil && ns.Name == name && ns.ID != but {
			err = fmt.Errorf("a namespace called %q, %s, %w", name, ns.ID, dbfs.ErrExist)
		}
	}
	return err
}

// RenameNamespace is remote.Sharing's.
func (se *Session) RenameNamespace(ctx context.Context, ns dbfs.NamespaceID, name string) error {
	if err := se.allowed(ctx, ns, dbfs.RoleAdmin); err != nil {
		return err
	}
	if err := dbfs.CheckName(name); err != nil {
		return err
	}
	if err := se.nameIsFree(ctx, ns, name); err != nil {
		return err
	}
	_, err := changeRow(ctx, se.s, TableNamespace, "namespace", namespaceKey(ns), func(row *namespaceRow) error {
		if row.Root {
			return fmt.Errorf("%w: %q is an account's own namespace and is called as the account is", dbfs.ErrInvalid, row.Name)
		}
		row.Name = name
		return nil
	})
	if err == nil {
		se.s.hub.publish(ns)
	}
	return err
}

// Members is remote.Sharing's.
func (se *Session) Members(ctx context.Context, ns dbfs.NamespaceID) ([]remote.Member, error) {
	if err := se.allowed(ctx, ns, dbfs.RoleRead); err != nil {
		return nil, err
	}
	row, err := se.s.namespace(ctx, ns)
	if err != nil {
		return nil, err
	}
	members := []remote.Member{}
	err = se.s.eachRow(ctx, TableMember, rowKey('n', uint64(ns)), func(listed Row) error {
		id := dbfs.AccountID(lastID(listed.Key))
		m, err := se.s.member(ctx, ns, id)
		if err != nil || m.Role == dbfs.RoleNone {
			return err
		}
		a, err := se.s.account(ctx, id)
		members = append(members, remote.Member{Account: id, Name: a.Name, Role: m.Role, Owner: id == row.Owner})
		return err
	})
	return members, err
}

// SetMember is remote.Sharing's.
func (se *Session) SetMember(ctx context.Context, ns dbfs.NamespaceID, account string, role dbfs.Role) error {
	if err := se.allowed(ctx, ns, dbfs.RoleAdmin); err != nil {
		return err
	}
	if role > dbfs.RoleAdmin {
		return fmt.Errorf("%w: %s is no role", dbfs.ErrInvalid, role)
	}
	a, err := se.s.accountNamed(ctx, account)
	if err != nil {
		return err
	}
	return se.s.setRole(ctx, ns, a, role)
}

// setRole gives an account a role. Who loses the last one loses the mount with it; rights
// go first, so a failure in between leaves a mount that opens nothing.
func (s *Server) setRole(ctx context.Context, ns dbfs.NamespaceID, a accountRow, role dbfs.Role) error {
	row, err := s.namespace(ctx, ns)
	if err != nil {
		return err
	}
	if row.Root {
		return fmt.Errorf("%w: %q is an account's own namespace and cannot be shared", dbfs.ErrInvalid, row.Name)
	}
	if row.Owner == a.ID && role != dbfs.RoleAdmin {
		return fmt.Errorf("%w: %q owns namespace %q and stays its admin", dbfs.ErrInvalid, a.Name, row.Name)
	}
	_, err = s.changeMember(ctx, ns, a.ID, func(m *memberRow) error {
		m.Role = role
		return nil
	})
	if err != nil {
		return err
	}
	s.hub.publish(ns)
	if role == dbfs.RoleNone {
		return s.unmount(ctx, ns, a)
	}
	return nil
}

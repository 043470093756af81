package remote

import (
	"context"
	"time"

	"github.com/dbfs/dbfs"
)

// Sharing is who may see what: accounts, devices, namespaces and their members, as one
// device sees them. Client and server.Session are the two implementations.
//
// Errors: dbfs.ErrForbidden without the role that a call needs, dbfs.ErrNotExist for an
// account that is not there, dbfs.ErrExist for a name that is taken.
type Sharing interface {
	// Me returns the account and device that the token speaks for.
	Me(ctx context.Context) (Me, error)

	// Devices lists the account's devices; RevokeDevice makes a device's token worthless,
	// and Logout the one in use.
	Devices(ctx context.Context) ([]Device, error)
	RevokeDevice(ctx context.Context, id dbfs.DeviceID) error
	Logout(ctx context.Context) error

	// AddUser makes an account with its root namespace and returns the token it logs in
	// with, which is shown once. ResetUser gives an account a new one; the old is worthless,
	// its devices stay. Users lists all accounts. All three are for administrators of the server.
	AddUser(ctx context.Context, name string, admin bool) (User, error)
	ResetUser(ctx context.Context, name string) (User, error)
	Users(ctx context.Context) ([]User, error)

	// CreateNamespace makes a shared namespace that belongs to the account. Its rule of names
	// stays as it is for ever. ErrExist: the account has one of that name, its own or a shared
	// one. (It may be given more of one name by others, and older servers did not ask.)
	CreateNamespace(ctx context.Context, name string, rule dbfs.NameRule) (dbfs.Namespace, error)

	// RenameNamespace gives a shared namespace another name, for everybody. It needs RoleAdmin.
	// Mounts are called as they are. ErrExist as for CreateNamespace.
	RenameNamespace(ctx context.Context, ns dbfs.NamespaceID, name string) error

	// Members lists who may do what in a namespace, for everybody who may read it.
	// SetMember gives an account, by name, a role in it; RoleNone takes it out. It needs RoleAdmin.
	Members(ctx context.Context, ns dbfs.NamespaceID) ([]Member, error)
	SetMember(ctx context.Context, ns dbfs.NamespaceID, account string, role dbfs.Role) error

	// Mount shows a shared namespace at a path in the caller's root namespace. The directories
	// above it must be there (dbfs.ErrNotExist), the path itself must not (dbfs.ErrExist). A
	// namespace has one mount at most. Unmount takes it away again, and Leave the membership with it.
	Mount(ctx context.Context, ns dbfs.NamespaceID, path string) (dbfs.NodeID, error)
	Unmount(ctx context.Context, ns dbfs.NamespaceID) error
	Leave(ctx context.Context, ns dbfs.NamespaceID) error
}

// Starting is how a device says that its daemon starts. Client and server.Session are the two
// implementations.
type Starting interface {
	// Start tells the server of a start, by names that are never used twice, before anything
	// else is done with it. last is the start before, as the device's own database has it ("":
	// there was none). If the server heard of another one since, this database is a copy of
	// another one, or an older state of its own, and must not go on under the same id: then the
	// answer is a new device to go on as. The zero Login: all is well. It may be asked again.
	Start(ctx context.Context, last, now string) (Login, error)
}

// StartRequest is POST /v1/start.
type StartRequest struct {
	Last string `json:"last,omitempty"`
	Now  string `json:"now"`
}

// Me is whom a token speaks for.
type Me struct {
	Account dbfs.AccountID   `json:"account"`
	Name    string           `json:"name"`
	Admin   bool             `json:"admin,omitempty"` // of the server
	Device  dbfs.DeviceID    `json:"device"`
	Root    dbfs.NamespaceID `json:"root"`
}

// Device is a machine that is logged in.
type Device struct {
	ID      dbfs.DeviceID `json:"id"`
	Name    string        `json:"name"`
	Created time.Time     `json:"created"`
	Expires time.Time     `json:"expires,omitzero"`
	Revoked bool          `json:"revoked,omitempty"`
	This    bool          `json:"this,omitempty"` // the one that asks
}

// User is an account at the server.
type User struct {
	ID    dbfs.AccountID `json:"id"`
	Name  string         `json:"name"`
	Admin bool           `json:"admin,omitempty"`
	Token string         `json:"token,omitempty"` // only when it has just been made
}

// Member is an account's part in a namespace.
type Member struct {
	Account dbfs.AccountID `json:"account"`
	Name    string         `json:"name"`
	Role    dbfs.Role      `json:"role"`
	Owner   bool           `json:"owner,omitempty"`
}

// The bodies of the sharing requests.
type (
	// AddUserRequest is POST /v1/admin/users.
	AddUserRequest struct {
		Name  string `json:"name"`
		Admin bool   `json:"admin,omitempty"`
	}
	// CreateNamespaceRequest is POST /v1/namespaces.
	CreateNamespaceRequest struct {
		Name  string        `json:"name"`
		Names dbfs.NameRule `json:"names"`
	}
	// RenameNamespaceRequest is POST /v1/namespaces/{ns}/name.
	RenameNamespaceRequest struct {
		Name string `json:"name"`
	}
	// SetMemberRequest is POST /v1/namespaces/{ns}/members.
	SetMemberRequest struct {
		Account string    `json:"account"` // its name
		Role    dbfs.Role `json:"role"`
	}
	// MountRequest is POST /v1/namespaces/{ns}/mount.
	MountRequest struct {
		Path string `json:"path"`
	}
	// MountReply answers it.
	MountReply struct {
		Node dbfs.NodeID `json:"node"`
	}
)

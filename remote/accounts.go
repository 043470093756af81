package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/dbfs/dbfs"
)

// Me is Sharing's, as are all methods here.
func (c *Client) Me(ctx context.Context) (Me, error) {
	return ask[Me](ctx, c, http.MethodGet, "/v1/me", nil)
}

func (c *Client) Devices(ctx context.Context) ([]Device, error) {
	return ask[[]Device](ctx, c, http.MethodGet, "/v1/devices", nil)
}

func (c *Client) RevokeDevice(ctx context.Context, id dbfs.DeviceID) error {
	return c.call(ctx, http.MethodDelete, "/v1/devices/"+id.String(), nil, nil)
}

func (c *Client) Logout(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/logout", nil, nil)
}

func (c *Client) AddUser(ctx context.Context, name string, admin bool) (User, error) {
	return ask[User](ctx, c, http.MethodPost, "/v1/admin/users", AddUserRequest{Name: name, Admin: admin})
}

func (c *Client) ResetUser(ctx context.Context, name string) (User, error) {
	return ask[User](ctx, c, http.MethodPost, "/v1/admin/users/"+url.PathEscape(name)+"/token", nil)
}

func (c *Client) Users(ctx context.Context) ([]User, error) {
	return ask[[]User](ctx, c, http.MethodGet, "/v1/admin/users", nil)
}

func (c *Client) CreateNamespace(ctx context.Context, name string, rule dbfs.NameRule) (dbfs.Namespace, error) {
	ns, err := ask[dbfs.Namespace](ctx, c, http.MethodPost, "/v1/namespaces", CreateNamespaceRequest{Name: name, Names: rule})
	if err == nil {
		err = checkNamespace(&ns)
	}
	if err == nil && ns.Names != rule { // an older server reads over what it does not know
		err = fmt.Errorf("%w: namespace %s was made with %s names: this server knows no others", dbfs.ErrUnsupported, ns.ID, ns.Names)
	}
	return ns, err
}

func (c *Client) RenameNamespace(ctx context.Context, ns dbfs.NamespaceID, name string) error {
	return c.call(ctx, http.MethodPost, sharePath(ns, "name"), RenameNamespaceRequest{Name: name}, nil)
}

func (c *Client) Members(ctx context.Context, ns dbfs.NamespaceID) ([]Member, error) {
	return ask[[]Member](ctx, c, http.MethodGet, sharePath(ns, "members"), nil)
}

func (c *Client) SetMember(ctx context.Context, ns dbfs.NamespaceID, account string, role dbfs.Role) error {
	return c.call(ctx, http.MethodPost, sharePath(ns, "members"), SetMemberRequest{Account: account, Role: role}, nil)
}

func (c *Client) Mount(ctx context.Context, ns dbfs.NamespaceID, path string) (dbfs.NodeID, error) {
	r, err := ask[MountReply](ctx, c, http.MethodPost, sharePath(ns, "mount"), MountRequest{Path: path})
	return r.Node, err
}

func (c *Client) Unmount(ctx context.Context, ns dbfs.NamespaceID) error {
	return c.call(ctx, http.MethodPost, sharePath(ns, "unmount"), nil, nil)
}

func (c *Client) Leave(ctx context.Context, ns dbfs.NamespaceID) error {
	return c.call(ctx, http.MethodPost, sharePath(ns, "leave"), nil, nil)
}

func sharePath(ns dbfs.NamespaceID, rest string) string {
	return "/v1/namespaces/" + ns.String() + "/" + rest
}

// ask is call with its answer returned.
func ask[Out any](ctx context.Context, c *Client, method, path string, in any) (Out, error) {
	var out Out
	err := c.call(ctx, method, path, in, &out)
	return out, err
}

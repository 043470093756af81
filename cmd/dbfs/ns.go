package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/control"
	"github.com/dbfs/dbfs/remote"
)

// server returns a client of the profile's server: by its login, or, for a profile that
// never logged in, through the daemon that has the server inside.
func (t *tool) server() (*remote.Client, error) {
	saved, err := readLogin(t.places.token(t.profile))
	switch {
	case errors.Is(err, dbfs.ErrNotExist):
		// The host's name means nothing: the transport knows only the socket.
		return remote.NewClient("http://dbfs/v1/server", "", daemonTransport{t.daemon().Transport()}), nil
	case err != nil:
		return nil, err
	case saved.Token == "":
		return nil, t.notLoggedIn(saved.Server)
	}
	return t.ask(saved.Server, saved.Token), nil
}

// ask returns a client of a server that the tool asks itself.
func (t *tool) ask(server, token string) *remote.Client {
	t.asked = server
	return remote.NewClient(server, token, nil)
}

// daemonTransport reaches a server through the daemon. That no daemon runs is not the
// same as a server that cannot be reached.
type daemonTransport struct{ rt http.RoundTripper }

func (d daemonTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.rt.RoundTrip(r)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		err = fmt.Errorf("%w: it has the server inside", control.ErrNoDaemon)
	}
	return resp, err
}

func nsCommand(t *tool) *cobra.Command {
	var showAt, names string
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a namespace that can be shared",
		Long: "Make a namespace that can be shared.\n\n" +
			"With --names exact, the default, names are told apart as Linux does: by their bytes. With --names portable,\n" +
			"README and readme are one name, and so are two ways to write an é; what is called one of them is found\n" +
			"by all, keeps the spelling that it was given, and can get another one by renaming it. Names that Windows\n" +
			"cannot have are refused: CON, NUL, COM1 and the like, with a dot or a space at the end, with one of\n" +
			"<>:\"\\|?* or a control character in them. Take it for folders that are used on Windows or macOS, too.\n" +
			"It stays as it was made: it cannot be changed later.",
		Example: "  dbfs ns create team\n  dbfs ns create team --mount /work/team\n  dbfs ns create photos --names portable",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.nsCreate(cmd.Context(), args[0], names, showAt)
		},
	}
	create.Flags().StringVar(&showAt, "mount", "", "also show it at this place in the drive")
	create.Flags().StringVar(&names, "names", dbfs.NamesExact.String(), "how names are told apart, for ever: exact or portable")
	ls := &cobra.Command{
		Use: "ls", Short: "List the namespaces that you may read", Example: "  dbfs ns ls",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.nsList(cmd.Context()) },
	}
	rename := &cobra.Command{
		Use: "rename NAMESPACE NAME", Short: "Call it something else, for everybody",
		Long:    "Rename gives a shared namespace another name, for all its members; you have to be an admin of it. Where it\nis mounted it stays, under the name that the mount has: rename that like any directory.",
		Example: "  dbfs ns rename team crew",
		Args:    cobra.ExactArgs(2),
		RunE:    func(cmd *cobra.Command, args []string) error { return t.nsRename(cmd.Context(), args[0], args[1]) },
	}
	share := &cobra.Command{
		Use: "share NAMESPACE ACCOUNT [read|write|admin|none]", Short: "Give an account a role in a namespace, or take it away with none",
		Example: "  dbfs ns share team bob write\n  dbfs ns share team bob none",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			role := "read"
			if len(args) == 3 {
				role = args[2]
			}
			return t.nsShare(cmd.Context(), args[0], args[1], role)
		},
	}
	members := &cobra.Command{
		Use: "members NAMESPACE", Short: "List who may do what in it", Example: "  dbfs ns members team",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.nsMembers(cmd.Context(), args[0]) },
	}
	mount := &cobra.Command{
		Use: "mount NAMESPACE [PATH]", Short: "Show it at a place in your drive, by default /NAMESPACE",
		Example: "  dbfs ns mount team ~/Dbfs/work/team\n  dbfs ns mount team /team",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.nsMount(cmd.Context(), args[0], firstOf(args[1:]))
		},
	}
	return chooses(&cobra.Command{
		Use: "ns", Short: "Namespaces: the parts of the drive that can be shared",
		Long:        "A namespace is a tree that syncs as one unit. Your own is your drive; shared ones appear where you\nmount them. NAMESPACE is a name, or an id as \"dbfs ns ls\" shows it.",
		Example:     "  dbfs ns create team --mount /team\n  dbfs ns share team bob write\n  dbfs ns ls",
		Annotations: map[string]string{byPath: "yes"},
	}, create, ls, rename, share, members, mount,
		t.onNamespace("unmount", "Take it out of your drive; you stay a member", remote.Sharing.Unmount),
		t.onNamespace("leave", "Stop being a member of it", remote.Sharing.Leave))
}

// onNamespace makes a subcommand of ns that does one thing to a namespace.
func (t *tool) onNamespace(verb, short string, do func(remote.Sharing, context.Context, dbfs.NamespaceID) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAMESPACE", Short: short, Example: "  dbfs ns " + verb + " team",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, ns, err := t.namespace(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return do(client, cmd.Context(), ns.ID)
		},
	}
}

// namespace finds one by name or id.
func (t *tool) namespace(ctx context.Context, name string) (remote.Sharing, dbfs.Namespace, error) {
	client, err := t.server()
	if err != nil {
		return nil, dbfs.Namespace{}, err
	}
	list, err := client.Namespaces(ctx)
	if err != nil {
		return nil, dbfs.Namespace{}, err
	}
	var found []dbfs.Namespace
	for _, ns := range list {
		if ns.ID.String() == name {
			return client, ns, nil
		}
		if ns.Name == name {
			found = append(found, ns)
		}
	}
	switch len(found) {
	case 1:
		return client, found[0], nil
	case 0:
		return nil, dbfs.Namespace{}, control.WithHint(fmt.Errorf("namespace %q: %w", name, dbfs.ErrNotExist), "dbfs ns ls")
	}
	return nil, dbfs.Namespace{}, control.WithHint(control.Errorf(dbfs.ErrInvalid, "%d namespaces are called %q", len(found), name), "use the id that dbfs ns ls shows")
}

func (t *tool) nsCreate(ctx context.Context, name, names, showAt string) error {
	var rule dbfs.NameRule
	if err := rule.UnmarshalText([]byte(names)); err != nil {
		return control.Errorf(control.ErrUsage, "--names %q: it is exact or portable", names)
	}
	client, err := t.server()
	if err != nil {
		return err
	}
	at := ""
	if showAt != "" { // a path that makes no sense should not leave a namespace behind
		if at, err = t.ownPath(showAt); err != nil {
			return err
		}
	}
	ns, err := client.CreateNamespace(ctx, name, rule)
	if err != nil {
		return nameTaken(err)
	}
	if at != "" {
		if _, err := client.Mount(ctx, ns.ID, at); err != nil {
			return control.WithHint(fmt.Errorf("namespace %s was made, but not mounted: %w", ns.ID, err), "dbfs ns mount "+ns.ID.String()+" PATH")
		}
	}
	if t.json {
		return t.printJSON(ns)
	}
	t.printf("%s  %s\n", ns.ID, t.name(ns.Name))
	return nil
}

// nsReply is what ns ls --json prints.
type nsReply struct {
	Namespaces []dbfs.Namespace `json:"namespaces"`
}

func (t *tool) nsList(ctx context.Context) error {
	client, err := t.server()
	if err != nil {
		return err
	}
	list, err := client.Namespaces(ctx)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(nsReply{list})
	}
	var tab table
	for _, ns := range list {
		kind := "shared"
		if ns.Root {
			kind = "own"
		}
		tab.add(ns.ID.String(), ns.Role.String(), kind, ns.Names.String(), t.name(ns.Name))
	}
	tab.write(t.out)
	return nil
}

func (t *tool) nsRename(ctx context.Context, name, to string) error {
	client, ns, err := t.namespace(ctx, name)
	if err == nil {
		err = client.RenameNamespace(ctx, ns.ID, to)
	}
	return nameTaken(err)
}

// nameTaken adds to the error of a name that is taken what to do about it.
func nameTaken(err error) error {
	if errors.Is(err, dbfs.ErrExist) {
		return control.WithHint(err, "another name, or dbfs ns ls")
	}
	return err
}

func (t *tool) nsShare(ctx context.Context, name, account, word string) error {
	var role dbfs.Role
	if err := role.UnmarshalText([]byte(word)); err != nil {
		return control.Errorf(control.ErrUsage, "role %q: it is read, write, admin or none", word)
	}
	client, ns, err := t.namespace(ctx, name)
	if err != nil {
		return err
	}
	return client.SetMember(ctx, ns.ID, account, role)
}

// membersReply is what ns members --json prints.
type membersReply struct {
	Members []remote.Member `json:"members"`
}

func (t *tool) nsMembers(ctx context.Context, name string) error {
	client, ns, err := t.namespace(ctx, name)
	if err != nil {
		return err
	}
	list, err := client.Members(ctx, ns.ID)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(membersReply{list})
	}
	var tab table
	for _, m := range list {
		owner := ""
		if m.Owner {
			owner = "owner"
		}
		tab.add(t.name(m.Name), m.Role.String(), owner)
	}
	tab.write(t.out)
	return nil
}

func (t *tool) nsMount(ctx context.Context, name, arg string) error {
	client, ns, err := t.namespace(ctx, name)
	if err != nil {
		return err
	}
	at := "/" + ns.Name
	if arg != "" {
		if at, err = t.ownPath(arg); err != nil {
			return err
		}
	}
	if _, err := client.Mount(ctx, ns.ID, at); err != nil {
		return err
	}
	if !t.json {
		t.printf("%s\n", t.name(place{"/", t.mountDir()}.show(at)))
		return nil
	}
	return t.printJSON(map[string]string{"path": at})
}

// ownPath is the drive path of an argument that must be in the user's own tree.
func (t *tool) ownPath(arg string) (string, error) {
	p, err := t.place(arg)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(p.drive, "/") {
		return "", control.Errorf(control.ErrUsage, "%s: a namespace is mounted in your own tree: write /PATH", arg)
	}
	return p.drive, nil
}

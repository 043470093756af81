package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dbfs/dbfs/remote"
)

func adminCommand(t *tool) *cobra.Command {
	var admin bool
	add := &cobra.Command{
		Use: "add NAME", Short: "Make an account and print the token that logs it in, once",
		Example: "  dbfs admin user add bob\n  dbfs admin user add carol --admin",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.userToken(cmd.Context(), func(ctx context.Context, s remote.Sharing) (remote.User, error) {
				return s.AddUser(ctx, args[0], admin)
			})
		},
	}
	add.Flags().BoolVar(&admin, "admin", false, "an administrator of the server, too")
	reset := &cobra.Command{
		Use: "reset NAME", Short: "Give an account a new token; its devices stay logged in",
		Example: "  dbfs admin user reset bob",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.userToken(cmd.Context(), func(ctx context.Context, s remote.Sharing) (remote.User, error) {
				return s.ResetUser(ctx, args[0])
			})
		},
	}
	ls := &cobra.Command{
		Use: "ls", Short: "List the accounts", Example: "  dbfs admin user ls --json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.users(cmd.Context()) },
	}
	user := chooses(&cobra.Command{
		Use: "user", Short: "Accounts at the server", Example: "  dbfs admin user add bob\n  dbfs admin user ls",
	}, add, ls, reset)
	return chooses(&cobra.Command{
		Use: "admin", Short: "Administer the server that the profile is logged in at",
		Long:        "The first administrator is made when a server starts for the first time, which prints its token and\nkeeps it in the file admin.token of its data directory.",
		Example:     "  dbfs admin user add bob --profile admin\n  dbfs admin gc --dry-run",
		Annotations: map[string]string{byPath: "yes"},
	}, user, gcCommand(t))
}

// userToken prints the account that do made or changed. Alone on a line, the token suits a pipe.
func (t *tool) userToken(ctx context.Context, do func(context.Context, remote.Sharing) (remote.User, error)) error {
	client, err := t.server()
	if err != nil {
		return err
	}
	user, err := do(ctx, client)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(user)
	}
	t.printf("%s\n", user.Token)
	return nil
}

// usersReply is what admin user ls --json prints.
type usersReply struct {
	Users []remote.User `json:"users"`
}

func (t *tool) users(ctx context.Context) error {
	client, err := t.server()
	if err != nil {
		return err
	}
	list, err := client.Users(ctx)
	if err != nil {
		return err
	}
	if t.json {
		return t.printJSON(usersReply{list})
	}
	var tab table
	for _, u := range list {
		role := "user"
		if u.Admin {
			role = "admin"
		}
		tab.add(u.ID.String(), role, t.name(u.Name))
	}
	tab.write(t.out)
	return nil
}

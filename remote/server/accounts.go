package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// An account row. It is there before its name row, and the account exists when that one
// does: a creation that was cut short leaves rows that nothing leads to.
//
//	TableAccount  'i' account id -> accountRow
//	TableAccount  'n' name       -> nameRow
type accountRow struct {
	ID      dbfs.AccountID   `json:"id"`
	Name    string           `json:"name"`
	Admin   bool             `json:"admin,omitempty"`
	Root    dbfs.NamespaceID `json:"root"`
	Token   tokenHash        `json:"token"` // the one that logs in; others that lead here are worthless
	Created time.Time        `json:"created"`
}

type nameRow struct {
	ID dbfs.AccountID `json:"id"`
}

func accountKey(id dbfs.AccountID) []byte { return rowKey('i', uint64(id)) }
func nameRowKey(name string) []byte       { return append(rowKey('n'), name...) }

// A token is a secret of 256 random bits; only its hash is kept. The prefix tells people
// which kind they hold.
const (
	loginPrefix  = "dbfs-login-"
	devicePrefix = "dbfs-device-"
)

type tokenHash [sha256.Size]byte

func hashToken(token string) tokenHash { return sha256.Sum256([]byte(token)) }

func (h tokenHash) MarshalText() ([]byte, error) { return dbfs.ChunkID(h).MarshalText() }
func (h *tokenHash) UnmarshalText(b []byte) error {
	return (*dbfs.ChunkID)(h).UnmarshalText(b)
}

func newToken(prefix string) string {
	b := make([]byte, 32)
	rand.Read(b)
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// adminName is the account that the first start makes.
const adminName = "admin"

// bootstrapRow holds the first administrator's token from before the account is made until
// somebody has logged in with it, so that no crash can lose it.
type bootstrapRow struct {
	Token string `json:"token,omitempty"` // empty: used
}

var bootstrapKey = []byte("bootstrap")

// Bootstrap makes the first administrator, once for a store, and returns the token that
// logs it in. fresh is false, and the token empty, when somebody has used it before.
func (s *Server) Bootstrap(ctx context.Context) (token string, fresh bool, err error) {
	if _, err := addRow(ctx, s, TableServer, "bootstrap", bootstrapKey, bootstrapRow{newToken(loginPrefix)}); err != nil {
		return "", false, err
	}
	row, err := getRow[bootstrapRow](ctx, s, TableServer, "bootstrap", bootstrapKey)
	if err != nil || row.Token == "" {
		return "", false, err
	}
	err = s.addAccount(ctx, adminName, true, row.Token)
	if err != nil && !errors.Is(err, dbfs.ErrExist) {
		return "", false, err
	}
	return row.Token, true, nil
}

// forgetBootstrap drops the kept token when it is the one just used.
func (s *Server) forgetBootstrap(ctx context.Context, token string) error {
	_, err := changeRow(ctx, s, TableServer, "bootstrap", bootstrapKey, func(row *bootstrapRow) error {
		if row.Token == token {
			row.Token = ""
		}
		return nil
	})
	return err
}

// addAccount makes an account with its root namespace. dbfs.ErrExist: the name is taken.
func (s *Server) addAccount(ctx context.Context, name string, admin bool, token string) error {
	if err := dbfs.CheckName(name); err != nil {
		return err
	}
	if _, err := s.accountNamed(ctx, name); err == nil {
		return fmt.Errorf("account %q %w", name, dbfs.ErrExist)
	} else if !errors.Is(err, dbfs.ErrNotExist) {
		return err
	}
	a := accountRow{
		ID: dbfs.AccountID(dbfs.RandomID()), Name: name, Admin: admin, Root: dbfs.NamespaceID(dbfs.RandomID()),
		Token: hashToken(token), Created: s.now().UTC(),
	}
	if err := s.addNamespace(ctx, a.Root, name, a.ID, true, dbfs.NamesExact); err != nil {
		return err
	}
	if _, err := addRow(ctx, s, TableAccount, "account", accountKey(a.ID), a); err != nil {
		return err
	}
	if err := s.pointToken(ctx, a.Token, tokenRow{Account: a.ID}); err != nil {
		return err
	}
	added, err := addRow(ctx, s, TableAccount, "account name", nameRowKey(name), nameRow{a.ID})
	if err == nil && !added {
		err = fmt.Errorf("account %q %w", name, dbfs.ErrExist)
	}
	return err
}

func (s *Server) account(ctx context.Context, id dbfs.AccountID) (accountRow, error) {
	return getRow[accountRow](ctx, s, TableAccount, "account", accountKey(id))
}

func (s *Server) accountNamed(ctx context.Context, name string) (accountRow, error) {
	row, err := getRow[nameRow](ctx, s, TableAccount, "account name", nameRowKey(name))
	if errors.Is(err, dbfs.ErrNotExist) {
		return accountRow{}, &noAccountError{name}
	}
	if err != nil {
		return accountRow{}, err
	}
	return s.account(ctx, row.ID)
}

type noAccountError struct{ name string }

func (e *noAccountError) Error() string {
	return fmt.Sprintf("there is no account %q at this server", e.name)
}
func (e *noAccountError) Unwrap() error { return dbfs.ErrNotExist }

// Me is remote.Sharing's, as are the other methods of Session on accounts and devices.
func (se *Session) Me(ctx context.Context) (remote.Me, error) {
	a, err := se.s.account(ctx, se.account)
	return remote.Me{Account: a.ID, Name: a.Name, Admin: a.Admin, Device: se.device, Root: a.Root}, err
}

func (se *Session) requireAdmin(ctx context.Context) error {
	a, err := se.s.account(ctx, se.account)
	if err == nil && !a.Admin {
		err = fmt.Errorf("%w: account %q does not administer this server", dbfs.ErrForbidden, a.Name)
	}
	return err
}

func (se *Session) AddUser(ctx context.Context, name string, admin bool) (remote.User, error) {
	if err := se.requireAdmin(ctx); err != nil {
		return remote.User{}, err
	}
	token := newToken(loginPrefix)
	if err := se.s.addAccount(ctx, name, admin, token); err != nil {
		return remote.User{}, err
	}
	a, err := se.s.accountNamed(ctx, name)
	return a.user(token), err
}

func (se *Session) ResetUser(ctx context.Context, name string) (remote.User, error) {
	if err := se.requireAdmin(ctx); err != nil {
		return remote.User{}, err
	}
	return se.s.resetToken(ctx, name)
}

func (s *Server) resetToken(ctx context.Context, name string) (remote.User, error) {
	a, err := s.accountNamed(ctx, name)
	if err != nil {
		return remote.User{}, err
	}
	token := newToken(loginPrefix)
	if err := s.pointToken(ctx, hashToken(token), tokenRow{Account: a.ID}); err != nil {
		return remote.User{}, err
	}
	a, err = changeRow(ctx, s, TableAccount, "account", accountKey(a.ID), func(a *accountRow) error {
		a.Token = hashToken(token)
		return nil
	})
	return a.user(token), err
}

// ResetAdmin gives the first administrator a new token. It asks for no rights: whoever has
// the server's database open can read and write everything in it anyway.
func (s *Server) ResetAdmin(ctx context.Context) (token string, err error) {
	u, err := s.resetToken(ctx, adminName)
	return u.Token, err
}

func (se *Session) Users(ctx context.Context) ([]remote.User, error) {
	if err := se.requireAdmin(ctx); err != nil {
		return nil, err
	}
	users := []remote.User{}
	err := se.s.eachRow(ctx, TableAccount, rowKey('n'), func(row Row) error {
		var name nameRow
		if err := unmarshalRow("account name", row.Value, &name); err != nil {
			return err
		}
		a, err := se.s.account(ctx, name.ID)
		users = append(users, a.user(""))
		return err
	})
	return users, err
}

func (a *accountRow) user(token string) remote.User {
	return remote.User{ID: a.ID, Name: a.Name, Admin: a.Admin, Token: token}
}

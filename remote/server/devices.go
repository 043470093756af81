package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// Tokens and devices. A token row only leads to a device or an account, whose own row
// says which token is the good one: to revoke or replace a token is one write there.
//
//	TableDevice  't' token hash         -> tokenRow
//	TableDevice  'd' account, device id -> deviceRow
type tokenRow struct {
	Account dbfs.AccountID `json:"account"`
	Device  dbfs.DeviceID  `json:"device,omitempty"` // zero: the token logs the account in
}

type deviceRow struct {
	Name    string    `json:"name"`
	Token   tokenHash `json:"token"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked bool      `json:"revoked,omitempty"`
	Start   string    `json:"start,omitempty"` // the last one of its daemon; empty: whichever comes
}

func tokenKey(h tokenHash) []byte { return append(rowKey('t'), h[:]...) }
func deviceKey(a dbfs.AccountID, d dbfs.DeviceID) []byte {
	return rowKey('d', uint64(a), uint64(d))
}

const maxDeviceName = 255

func (s *Server) pointToken(ctx context.Context, h tokenHash, row tokenRow) error {
	_, err := changeRow(ctx, s, TableDevice, "token", tokenKey(h), func(r *tokenRow) error {
		*r = row
		return nil
	})
	return err
}

func (s *Server) tokenRow(ctx context.Context, token string) (tokenRow, error) {
	if token == "" {
		return tokenRow{}, fmt.Errorf("%w: no token", dbfs.ErrAuth)
	}
	row, err := getRow[tokenRow](ctx, s, TableDevice, "token", tokenKey(hashToken(token)))
	if errors.Is(err, dbfs.ErrNotExist) {
		return tokenRow{}, fmt.Errorf("%w: this server does not know the token", dbfs.ErrAuth)
	}
	return row, err
}

// Login makes a device of the account that the request's token logs in, or gives one that
// it has a new token.
func (s *Server) Login(ctx context.Context, req remote.LoginRequest) (remote.Login, error) {
	row, err := s.tokenRow(ctx, req.Token)
	if err != nil {
		return remote.Login{}, err
	}
	if row.Device != 0 {
		return remote.Login{}, fmt.Errorf("%w: this is a device's token; logging in wants an account's", dbfs.ErrAuth)
	}
	a, err := s.account(ctx, row.Account)
	if err != nil {
		return remote.Login{}, err
	}
	if a.Token != hashToken(req.Token) {
		return remote.Login{}, fmt.Errorf("%w: account %q has been given another token", dbfs.ErrAuth, a.Name)
	}
	l := remote.Login{Device: req.Device, Token: newToken(devicePrefix), Account: a.ID, Name: a.Name}
	if l.Device == 0 {
		l.Device = dbfs.DeviceID(dbfs.RandomID())
	}
	if err := s.putDevice(ctx, &l, req); err != nil {
		return remote.Login{}, err
	}
	return l, s.forgetBootstrap(ctx, req.Token)
}

func (s *Server) putDevice(ctx context.Context, l *remote.Login, req remote.LoginRequest) error {
	name := strings.ToValidUTF8(strings.TrimSpace(req.Name), "")
	if name == "" || len(name) > maxDeviceName {
		return fmt.Errorf("%w: a device name of %d bytes", dbfs.ErrInvalid, len(name))
	}
	hash := hashToken(l.Token)
	if err := s.pointToken(ctx, hash, tokenRow{Account: l.Account, Device: l.Device}); err != nil {
		return err
	}
	now := s.now().UTC()
	_, err := changeRow(ctx, s, TableDevice, "device", deviceKey(l.Account, l.Device), func(d *deviceRow) error {
		if req.Device != 0 && d.Created.IsZero() {
			return fmt.Errorf("%w: account %q has no device %s", dbfs.ErrForbidden, l.Name, req.Device)
		}
		created := d.Created
		if created.IsZero() {
			created = now
		}
		*d = deviceRow{Name: name, Token: hash, Created: created, Start: d.Start}
		if s.opts.TokenLife > 0 {
			d.Expires = now.Add(s.opts.TokenLife)
		}
		return nil
	})
	return err
}

// Session returns the server as the device sees it that the token belongs to; ErrAuth.
func (s *Server) Session(ctx context.Context, token string) (*Session, error) {
	row, err := s.tokenRow(ctx, token)
	if err != nil {
		return nil, err
	}
	if row.Device == 0 {
		return nil, fmt.Errorf("%w: this token is for logging in; log in to get a device's", dbfs.ErrAuth)
	}
	d, err := getRow[deviceRow](ctx, s, TableDevice, "device", deviceKey(row.Account, row.Device))
	if err != nil {
		return nil, err
	}
	switch {
	case d.Revoked:
		return nil, fmt.Errorf("%w: the token of device %q was revoked", dbfs.ErrAuth, d.Name)
	case d.Token != hashToken(token):
		return nil, fmt.Errorf("%w: device %q has logged in again since and has another token", dbfs.ErrAuth, d.Name)
	case !d.Expires.IsZero() && s.now().After(d.Expires):
		return nil, fmt.Errorf("%w: the token of device %q has expired; log in again", dbfs.ErrAuth, d.Name)
	}
	return &Session{s: s, account: row.Account, device: row.Device}, nil
}

func (se *Session) Devices(ctx context.Context) ([]remote.Device, error) {
	prefix := rowKey('d', uint64(se.account))
	devices := []remote.Device{}
	err := se.s.eachRow(ctx, TableDevice, prefix, func(row Row) error {
		var d deviceRow
		if err := unmarshalRow("device", row.Value, &d); err != nil {
			return err
		}
		id := dbfs.DeviceID(lastID(row.Key))
		devices = append(devices, remote.Device{
			ID: id, Name: d.Name, Created: d.Created, Expires: d.Expires, Revoked: d.Revoked, This: id == se.device,
		})
		return nil
	})
	return devices, err
}

func (se *Session) RevokeDevice(ctx context.Context, id dbfs.DeviceID) error {
	_, err := changeRow(ctx, se.s, TableDevice, "device", deviceKey(se.account, id), func(d *deviceRow) error {
		if d.Created.IsZero() {
			return fmt.Errorf("device %s: %w", id, dbfs.ErrNotExist)
		}
		d.Revoked = true
		return nil
	})
	return err
}

// Start is remote.Starting's. Only one daemon goes on from where a device's last start was: the
// one whose state remembers it.
func (se *Session) Start(ctx context.Context, last, now string) (remote.Login, error) {
	if now == "" || len(now) > maxStart || len(last) > maxStart {
		return remote.Login{}, fmt.Errorf("%w: starts %q and %q", dbfs.ErrInvalid, last, now)
	}
	copied := false
	d, err := changeRow(ctx, se.s, TableDevice, "device", deviceKey(se.account, se.device), func(d *deviceRow) error {
		if copied = d.Start != "" && d.Start != last && d.Start != now; !copied {
			d.Start = now
		}
		return nil
	})
	if err != nil || !copied {
		return remote.Login{}, err
	}
	a, err := se.s.account(ctx, se.account)
	if err != nil {
		return remote.Login{}, err
	}
	l := remote.Login{Device: dbfs.DeviceID(dbfs.RandomID()), Token: newToken(devicePrefix), Account: a.ID, Name: a.Name}
	if err := se.s.putDevice(ctx, &l, remote.LoginRequest{Name: d.Name}); err != nil {
		return remote.Login{}, err
	}
	se.s.opts.Log.Warn("a device came back with an older state, or as a copy; it goes on as a new one", "account", a.Name, "device", se.device, "new", l.Device)
	return l, nil
}

// maxStart bounds the names of starts, in bytes.
const maxStart = 64

func (se *Session) Logout(ctx context.Context) error { return se.RevokeDevice(ctx, se.device) }

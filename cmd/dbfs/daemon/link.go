package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cmd/dbfs/host"
	"github.com/dbfs/dbfs/remote"
)

// link is the connection to the server, far or within this process.
type link struct {
	meta     dbfs.Meta
	notifier dbfs.Notifier
	chunks   dbfs.ChunkStore
	history  dbfs.History
	holding  dbfs.Holding
	devices  func(ctx context.Context) ([]remote.Device, error)
	me       func(ctx context.Context) (remote.Me, error)
	login    dbfs.DeviceID // who this device is at the server; 0: embedded
	handler  http.Handler  // the server's API, as this device
	closers  []func() error
}

func (l *link) close() error {
	var errs []error
	for i := len(l.closers) - 1; i >= 0; i-- {
		errs = append(errs, l.closers[i]())
	}
	return errors.Join(errs...)
}

func openLink(set Settings, kv dbfs.KV) (*link, error) {
	if set.Server == Embedded {
		return embed(set, kv)
	}
	base, err := url.Parse(set.Server)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", set.Server, dbfs.ErrInvalid)
	}
	client := remote.NewClient(set.Server, set.Token, nil)
	start, err := newStarter(kv, client.Start, func(l remote.Login) error {
		if set.Renewed == nil {
			return nil
		}
		return set.Renewed(l)
	})
	if err != nil {
		return nil, err
	}
	other, err := start.begin()
	if err != nil {
		return nil, err
	}
	if other != nil {
		set.Log.Warn("the state in this directory is an older one of this device, or a copy; it goes on as a new device", "device", other.Device, "was", set.Login)
		set.Token, set.Login = other.Token, other.Device
		return openLink(set, kv)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(base)
		r.Out.Header.Set("Authorization", "Bearer "+set.Token)
	}}
	meta := started{client, client, start.ensure}
	chunks := remote.NewChunks(client, nil)
	chunks.SetPace(set.limiter)
	return &link{meta: meta, notifier: meta, login: set.Login, chunks: chunks, history: client, holding: client, devices: client.Devices, me: client.Me, handler: proxy}, nil
}

// embed starts the server within this process, on directories below the state directory.
// It is spoken to without any wire in between.
func embed(set Settings, kv dbfs.KV) (_ *link, err error) {
	l := &link{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("embedded server: %w", err), l.close())
		}
	}()
	srv, err := host.Open(context.Background(), filepath.Join(set.State, "server"), host.Options{}, set.Log)
	if err != nil {
		return nil, err
	}
	l.closers = append(l.closers, srv.Close)
	token, err := embeddedToken(srv, kv, set.Device)
	if err != nil {
		return nil, err
	}
	session, err := srv.Session(context.Background(), token)
	if err != nil {
		return nil, err
	}
	l.meta, l.notifier, l.chunks, l.me = session, session, session, session.Me
	l.history, l.holding, l.devices = session, session, session.Devices
	api := srv.Handler()
	l.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+token)
		api.ServeHTTP(w, r)
	})
	return l, nil
}

var embeddedTokenKey = []byte("@embedded")

// embeddedToken logs this device in at its own server, once.
func embeddedToken(srv *host.Server, kv dbfs.KV, device string) (string, error) {
	token, err := getValue(kv, embeddedTokenKey)
	if err == nil || !errors.Is(err, dbfs.ErrNotExist) {
		return string(token), err
	}
	ctx := context.Background()
	first := srv.Token
	if first == "" { // an earlier start got as far as to use it, and could not write down what it got
		if first, err = srv.ResetAdmin(ctx); err != nil {
			return "", err
		}
	}
	login, err := srv.Login(ctx, remote.LoginRequest{Token: first, Name: device})
	if err != nil {
		return "", err
	}
	return login.Token, setValue(kv, embeddedTokenKey, []byte(login.Token))
}

// identity is who this client is, and what it last knew to have. It is kept so that a start
// needs no network.
type identity struct {
	Version    int              `json:"version"` // 1
	Server     string           `json:"server"`
	Account    dbfs.AccountID   `json:"account"`
	Name       string           `json:"name"`
	Device     dbfs.DeviceID    `json:"device"`
	Root       dbfs.NamespaceID `json:"root"`
	Namespaces []dbfs.Namespace `json:"namespaces"`
	Left       []dbfs.Namespace `json:"left,omitempty"` // not had any more; edits of them may be pending
}

var identityKey = []byte("@identity")

// whoAmI returns the identity that is stored, or asks the server the first time.
func (d *Daemon) whoAmI() (identity, error) {
	var me identity
	b, err := getValue(d.kv, identityKey)
	if err == nil {
		if err := json.Unmarshal(b, &me); err != nil {
			return me, fmt.Errorf("%w: who this client is: %v", dbfs.ErrCorrupt, err)
		}
		if me.Version != 1 {
			return me, fmt.Errorf("%w %d of who this client is", dbfs.ErrVersion, me.Version)
		}
		if me.Server != d.set.Server {
			return me, fmt.Errorf("%w: %s holds the state of a drive at %s, not at %s; use another profile", dbfs.ErrInvalid, d.set.State, me.Server, d.set.Server)
		}
		if l := d.link.login; l != 0 && l != me.Device { // logged out, and in again as another device, or a copy
			me.Device = l
			return me, d.keep(me)
		}
		return me, nil
	}
	if !errors.Is(err, dbfs.ErrNotExist) {
		return me, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	who, err := d.link.me(ctx)
	if err != nil {
		return me, fmt.Errorf("the first mount of a profile asks the server who it is: %w", err)
	}
	list, err := d.link.meta.Namespaces(ctx)
	if err != nil {
		return me, fmt.Errorf("the first mount of a profile asks the server what there is: %w", err)
	}
	me = identity{Version: 1, Server: d.set.Server, Account: who.Account, Name: who.Name, Device: who.Device, Root: who.Root, Namespaces: list}
	return me, d.keep(me)
}

func (d *Daemon) keep(me identity) error {
	b, err := json.Marshal(me)
	if err != nil {
		return err
	}
	return setValue(d.kv, identityKey, b)
}

func getValue(kv dbfs.KV, key []byte) (v []byte, err error) {
	err = kv.View(func(txn dbfs.Txn) (err error) {
		v, err = txn.Get(key)
		return err
	})
	return v, err
}

func setValue(kv dbfs.KV, key, v []byte) error {
	if err := kv.Update(func(txn dbfs.Txn) error { return txn.Set(key, v) }); err != nil {
		return err
	}
	return kv.Sync()
}

// ServerHandler is the server's API, as this device: for the tool's commands about
// namespaces and accounts.
func (d *Daemon) ServerHandler() http.Handler { return d.link.handler }

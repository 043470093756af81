package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

// Limits of the HTTP interface.
const (
	smallBody    = 64 << 10         // bytes of a request that has no reason to be long
	bodyTime     = 30 * time.Second // for a request's body to arrive
	replyTime    = 60 * time.Second // for an answer to be made and taken
	headerTime   = 10 * time.Second
	idleTime     = 3 * time.Minute
	maxHeader    = 32 << 10
	retrySeconds = "1" // Retry-After of a server that cannot help now
)

// HTTPServer returns an http.Server of the handler with its time limits set. Shutting it
// down sends parked polls home first.
func (s *Server) HTTPServer() *http.Server {
	hs := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
	}
	hs.RegisterOnShutdown(s.Drain)
	return hs
}

// Handler returns the HTTP interface: JSON in and out, one path for each method of Session.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.metaRoutes(mux)
	s.sharingRoutes(mux)
	s.blockRoutes(mux)
	mux.HandleFunc("POST /v1/login", func(w http.ResponseWriter, r *http.Request) {
		serve(s, w, r, smallBody, func(req remote.LoginRequest) (any, error) { return s.Login(r.Context(), req) })
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, fmt.Errorf("%w by this server: %s %s", dbfs.ErrUnsupported, r.Method, r.URL.Path))
	})
	return mux
}

func (s *Server) metaRoutes(mux *http.ServeMux) {
	handle(s, mux, "GET /v1/namespaces", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		return se.Namespaces(r.Context())
	})
	handle(s, mux, "POST /v1/ns/{ns}/commit", remote.MaxCommit, func(se *Session, r *http.Request, batch dbfs.Batch) (any, error) {
		ns, err := pathNamespace(r)
		if err != nil {
			return nil, err
		}
		entries, err := se.Commit(r.Context(), ns, batch)
		if reply, ok := remote.ReplyToCommit(entries, err); ok {
			return reply, nil
		}
		return nil, err
	})
	handle(s, mux, "GET /v1/ns/{ns}/log", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		q := query{r: r}
		ns, after, limit := q.namespace(), dbfs.Cursor{Epoch: uint32(q.uint("epoch", 32)), JID: dbfs.JID(q.uint("after", 64))}, int(q.uint("limit", 31))
		if q.err != nil {
			return nil, q.err
		}
		p, err := se.Log(r.Context(), ns, after, limit)
		if err == nil && p.State && q.uint("state", 1) == 0 { // a client of before there was such a thing
			err = fmt.Errorf("%w: too far behind", dbfs.ErrReset)
		}
		return p, err
	})
	handle(s, mux, "GET /v1/ns/{ns}/tree", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		q := query{r: r}
		ns, after, limit := q.namespace(), q.node("after"), int(q.uint("limit", 31))
		if q.err != nil {
			return nil, q.err
		}
		return se.Tree(r.Context(), ns, after, limit)
	})
	handle(s, mux, "GET /v1/ns/{ns}/deleted", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		q := query{r: r}
		ns, after, limit := q.namespace(), dbfs.Departure{JID: dbfs.JID(q.uint("after", 64)), Node: q.node("node")}, int(q.uint("limit", 31))
		if q.err != nil {
			return nil, q.err
		}
		return se.Deleted(r.Context(), ns, after, limit)
	})
	handle(s, mux, "GET /v1/ns/{ns}/nodes/{node}/revisions", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		q := query{r: r}
		ns, node, after, limit := q.namespace(), q.pathNode(), dbfs.JID(q.uint("after", 64)), int(q.uint("limit", 31))
		if q.err != nil {
			return nil, q.err
		}
		return se.Revisions(r.Context(), ns, node, after, limit)
	})
	handle(s, mux, "GET /v1/ns/{ns}/nodes/{node}/revisions/{rev}", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		q := query{r: r}
		ns, node, rev := q.namespace(), q.pathNode(), dbfs.JID(q.number("rev", r.PathValue("rev"), 64))
		if q.err != nil {
			return nil, q.err
		}
		return se.Revision(r.Context(), ns, node, rev)
	})
	for method, do := range map[string]func(*Session, context.Context, dbfs.NamespaceID, dbfs.NodeID, dbfs.JID) error{
		"PUT": (*Session).Hold, "DELETE": (*Session).LetGo,
	} {
		handle(s, mux, method+" /v1/ns/{ns}/nodes/{node}/revisions/{rev}/hold", 0, func(se *Session, r *http.Request, _ none) (any, error) {
			q := query{r: r}
			ns, node, rev := q.namespace(), q.pathNode(), dbfs.JID(q.number("rev", r.PathValue("rev"), 64))
			if q.err != nil {
				return nil, q.err
			}
			return none{}, do(se, r.Context(), ns, node, rev)
		})
	}
	handle(s, mux, "POST /v1/poll", smallBody, servePoll)
}

func servePoll(se *Session, r *http.Request, req remote.PollRequest) (any, error) {
	if len(req.Cursors) > remote.MaxPoll {
		return nil, fmt.Errorf("%w: a poll for %d namespaces", dbfs.ErrInvalid, len(req.Cursors))
	}
	at := make(map[dbfs.NamespaceID]dbfs.Cursor, len(req.Cursors))
	for _, c := range req.Cursors {
		at[c.NS] = dbfs.Cursor{Epoch: c.Epoch, JID: c.JID}
	}
	secs := min(max(req.T, 0), remote.MaxPollTime)
	hint, err := se.Wait(r.Context(), at, time.Duration(secs*float64(time.Second)))
	return remote.PollReply{Changed: hint.Changed, RetryMS: hint.Retry.Milliseconds(), HerdMS: hint.Herd.Milliseconds()}, err
}

func (s *Server) sharingRoutes(mux *http.ServeMux) {
	handle(s, mux, "GET /v1/me", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		return se.Me(r.Context())
	})
	handle(s, mux, "GET /v1/devices", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		return se.Devices(r.Context())
	})
	handle(s, mux, "DELETE /v1/devices/{device}", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		var id dbfs.DeviceID
		if err := id.UnmarshalText([]byte(r.PathValue("device"))); err != nil {
			return nil, err
		}
		return none{}, se.RevokeDevice(r.Context(), id)
	})
	handle(s, mux, "POST /v1/start", smallBody, func(se *Session, r *http.Request, req remote.StartRequest) (any, error) {
		return se.Start(r.Context(), req.Last, req.Now)
	})
	handle(s, mux, "POST /v1/logout", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		return none{}, se.Logout(r.Context())
	})
	handle(s, mux, "GET /v1/admin/users", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		return se.Users(r.Context())
	})
	handle(s, mux, "POST /v1/admin/users", smallBody, func(se *Session, r *http.Request, req remote.AddUserRequest) (any, error) {
		return se.AddUser(r.Context(), req.Name, req.Admin)
	})
	handle(s, mux, "POST /v1/admin/users/{name}/token", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		return se.ResetUser(r.Context(), r.PathValue("name"))
	})
	handle(s, mux, "POST /v1/admin/collection", smallBody, func(se *Session, r *http.Request, req remote.CollectionRequest) (any, error) {
		return se.StartCollection(r.Context(), req.DryRun)
	})
	handle(s, mux, "GET /v1/admin/collection", 0, func(se *Session, r *http.Request, _ none) (any, error) {
		return se.Collection(r.Context())
	})
	handle(s, mux, "POST /v1/namespaces", smallBody, func(se *Session, r *http.Request, req remote.CreateNamespaceRequest) (any, error) {
		return se.CreateNamespace(r.Context(), req.Name, req.Names)
	})
	onNamespace(s, mux, "GET", "members", 0, func(ctx context.Context, se *Session, ns dbfs.NamespaceID, _ none) (any, error) {
		return se.Members(ctx, ns)
	})
	onNamespace(s, mux, "POST", "members", smallBody, func(ctx context.Context, se *Session, ns dbfs.NamespaceID, req remote.SetMemberRequest) (any, error) {
		return none{}, se.SetMember(ctx, ns, req.Account, req.Role)
	})
	onNamespace(s, mux, "POST", "mount", smallBody, func(ctx context.Context, se *Session, ns dbfs.NamespaceID, req remote.MountRequest) (any, error) {
		id, err := se.Mount(ctx, ns, req.Path)
		return remote.MountReply{Node: id}, err
	})
	onNamespace(s, mux, "POST", "name", smallBody, func(ctx context.Context, se *Session, ns dbfs.NamespaceID, req remote.RenameNamespaceRequest) (any, error) {
		return none{}, se.RenameNamespace(ctx, ns, req.Name)
	})
	onNamespace(s, mux, "POST", "unmount", 0, func(ctx context.Context, se *Session, ns dbfs.NamespaceID, _ none) (any, error) {
		return none{}, se.Unmount(ctx, ns)
	})
	onNamespace(s, mux, "POST", "leave", 0, func(ctx context.Context, se *Session, ns dbfs.NamespaceID, _ none) (any, error) {
		return none{}, se.Leave(ctx, ns)
	})
}

// none is the body of a request or an answer that says nothing.
type none struct{}

// handle adds a request that needs a device's token. Its body, at most limit bytes of JSON,
// becomes fn's In (limit 0: no body is read); what fn returns becomes the answer.
func handle[In any](s *Server, mux *http.ServeMux, pattern string, limit int64, fn func(se *Session, r *http.Request, in In) (any, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		se, err := s.Session(r.Context(), bearer(r))
		if err != nil {
			s.fail(w, r, err)
			return
		}
		serve(s, w, r, limit, func(in In) (any, error) { return fn(se, r, in) })
	})
}

// onNamespace is handle for /v1/namespaces/{ns}/….
func onNamespace[In any](s *Server, mux *http.ServeMux, method, path string, limit int64, fn func(context.Context, *Session, dbfs.NamespaceID, In) (any, error)) {
	handle(s, mux, method+" /v1/namespaces/{ns}/"+path, limit, func(se *Session, r *http.Request, in In) (any, error) {
		ns, err := pathNamespace(r)
		if err != nil {
			return nil, err
		}
		return fn(r.Context(), se, ns, in)
	})
}

// bearer returns the token that a request carries; "" if none.
func bearer(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

func pathNamespace(r *http.Request) (ns dbfs.NamespaceID, err error) {
	err = ns.UnmarshalText([]byte(r.PathValue("ns")))
	return ns, err
}

// A query reads a request's numbers and ids; the first that is wrong is kept in err.
type query struct {
	r   *http.Request
	err error
}

func (q *query) namespace() dbfs.NamespaceID {
	ns, err := pathNamespace(q.r)
	q.note(err)
	return ns
}

func (q *query) uint(name string, bits int) uint64 {
	return q.number(name, q.r.URL.Query().Get(name), bits)
}

func (q *query) number(name, text string, bits int) uint64 {
	if text == "" {
		return 0
	}
	v, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		q.note(fmt.Errorf("%w: %s=%q", dbfs.ErrInvalid, name, text))
	}
	return v
}

func (q *query) node(name string) (id dbfs.NodeID) {
	if text := q.r.URL.Query().Get(name); text != "" {
		q.note(id.UnmarshalText([]byte(text)))
	}
	return id
}

func (q *query) pathNode() (id dbfs.NodeID) {
	q.note(id.UnmarshalText([]byte(q.r.PathValue("node"))))
	return id
}

func (q *query) note(err error) {
	if q.err == nil {
		q.err = err
	}
}

// serve reads a request, calls fn and answers.
func serve[In any](s *Server, w http.ResponseWriter, r *http.Request, limit int64, fn func(In) (any, error)) {
	in, err := readJSON[In](w, r, limit)
	var out any
	if err == nil {
		out, err = fn(in)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, out)
}

func readJSON[In any](w http.ResponseWriter, r *http.Request, limit int64) (in In, err error) {
	if limit == 0 {
		return in, nil
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // not every transport has one
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return in, fmt.Errorf("%w: a request of more than %d bytes", dbfs.ErrTooLarge, limit)
	case err != nil:
		return in, fmt.Errorf("%w: the request broke off: %v", dbfs.ErrInvalid, err)
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return in, fmt.Errorf("%w: the request: %v", dbfs.ErrInvalid, err)
	}
	return in, nil
}

// fail answers with an error. What is the server's own trouble goes to its log.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody is listening
	}
	status, reply := remote.EncodeError(err)
	if status >= 500 {
		s.opts.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retrySeconds)
	}
	writeJSON(w, status, reply)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"code":"internal","message":"the answer cannot be written"}`)
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(replyTime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b)
}

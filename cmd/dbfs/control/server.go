package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/dbfs/dbfs"
)

// Server answers a control socket for a Daemon. It looks at who is there, decodes and
// encodes; everything else is the Daemon's.
type Server struct {
	daemon Daemon
	owner  uint32 // whose socket it is; root is let in besides
	log    *slog.Logger
	http   *http.Server

	peer func(net.Conn) (uint32, error) // peerUID; another in tests
}

// NewServer returns a server for the user that runs this process.
func NewServer(d Daemon, log *slog.Logger) *Server {
	s := &Server{daemon: d, owner: uint32(os.Geteuid()), log: log, peer: peerUID}
	s.http = &http.Server{
		Handler:           s.guard(s.routes()),
		ConnContext:       s.greet,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return s
}

// Serve answers until Shutdown, and then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Shutdown takes no more requests and waits for the running ones; when ctx ends first
// it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/version", get(s.daemon.Version))
	mux.HandleFunc("GET /v1/profile", profile)
	mux.HandleFunc("GET /v1/status", get(s.status))
	mux.HandleFunc("GET /v1/conflicts", get(s.conflicts))
	mux.HandleFunc("POST /v1/filestatus", post(s.fileStatus))
	mux.HandleFunc("POST /v1/search", post(s.search))
	mux.HandleFunc("POST /v1/conflicts/show", post(s.conflict))
	mux.HandleFunc("POST /v1/conflicts/base", post(s.conflictBase))
	mux.HandleFunc("POST /v1/conflicts/resolve", post(s.resolveConflict))
	mux.HandleFunc("GET /v1/held", get(s.holds))
	mux.HandleFunc("POST /v1/held/items", stream(s.heldItems))
	mux.HandleFunc("POST /v1/held/decide", post(s.decideHold))
	mux.HandleFunc("POST /v1/throttle", post(s.daemon.Throttle))
	mux.HandleFunc("POST /v1/pause", post(s.pause))
	mux.HandleFunc("POST /v1/resume", post(s.resume))
	mux.HandleFunc("POST /v1/list", stream(s.list))
	mux.HandleFunc("POST /v1/wait", stream(s.wait))
	mux.HandleFunc("POST /v1/grep", stream(s.grep))
	mux.HandleFunc("POST /v1/umount", stream(s.umount))
	if copies, ok := s.daemon.(Copies); ok {
		copiesRoutes(mux, copies)
	}
	if past, ok := s.daemon.(Past); ok {
		pastRoutes(mux, past)
	}
	if q, ok := s.daemon.(Queue); ok {
		queueRoutes(mux, q)
	}
	if trash, ok := s.daemon.(Trash); ok {
		trashRoutes(mux, trash)
	}
	if why, ok := s.daemon.(Why); ok {
		mux.HandleFunc("POST /v1/why", post(why.Why))
	}
	if host, ok := s.daemon.(Host); ok {
		mux.Handle("/v1/server/", http.StripPrefix("/v1/server", host.ServerHandler()))
	}
	mux.HandleFunc("/", unknownRoute)
	return mux
}

type peerKey struct{}

// greet notes who has connected, for guard to judge.
func (s *Server) greet(ctx context.Context, conn net.Conn) context.Context {
	uid, err := s.peer(conn)
	if err == nil && uid != 0 && uid != s.owner {
		err = fmt.Errorf("%w: this socket belongs to user %d, not to user %d", dbfs.ErrForbidden, s.owner, uid)
	}
	return context.WithValue(ctx, peerKey{}, err)
}

func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err, _ := r.Context().Value(peerKey{}).(error); err != nil {
			s.log.Warn("control socket: refused", "err", err)
			w.Header().Set("Connection", "close")
			replyError(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// The types of requests and replies that are too small for a name of their own in api.go.
type (
	pathRequest struct {
		Path string `json:"path"`
	}
	bytesReply struct {
		Bytes []byte `json:"bytes"`
	}
	idRequest struct {
		ID uint64 `json:"id"`
	}
	holdsList struct {
		Held []Hold `json:"held"`
	}
	empty         struct{}
	conflictsList struct {
		Conflicts []Conflict `json:"conflicts"`
	}
)

func (s *Server) status(ctx context.Context) (*Status, error) {
	st, err := s.daemon.Status(ctx)
	if err != nil {
		return nil, err
	}
	st.Namespaces, st.Attention = orEmpty(st.Namespaces), orEmpty(st.Attention)
	return st, nil
}

func (s *Server) search(ctx context.Context, req SearchRequest) (*SearchResult, error) {
	res, err := s.daemon.Search(ctx, req)
	if err != nil {
		return nil, err
	}
	res.Hits = orEmpty(res.Hits)
	return res, nil
}

func (s *Server) conflicts(ctx context.Context) (conflictsList, error) {
	list, err := s.daemon.Conflicts(ctx)
	return conflictsList{orEmpty(list)}, err
}

func (s *Server) conflict(ctx context.Context, req pathRequest) (*ConflictDetail, error) {
	return s.daemon.Conflict(ctx, req.Path)
}

func (s *Server) conflictBase(ctx context.Context, req pathRequest) (bytesReply, error) {
	b, err := s.daemon.ConflictBase(ctx, req.Path)
	return bytesReply{b}, err
}

func (s *Server) resolveConflict(ctx context.Context, req ResolveRequest) (empty, error) {
	return empty{}, s.daemon.ResolveConflict(ctx, req)
}

func (s *Server) holds(ctx context.Context) (holdsList, error) {
	list, err := s.daemon.Holds(ctx)
	return holdsList{orEmpty(list)}, err
}

func (s *Server) heldItems(ctx context.Context, req idRequest, w *streamWriter) (any, error) {
	return empty{}, s.daemon.HeldItems(ctx, req.ID, func(item *HeldItem) error { return w.item(item) })
}

func (s *Server) decideHold(ctx context.Context, req HoldDecision) (empty, error) {
	if req.Approve && req.Discard {
		return empty{}, fmt.Errorf("%w: approve and discard", dbfs.ErrInvalid)
	}
	return empty{}, s.daemon.DecideHold(ctx, req)
}

// orEmpty makes JSON write a list that holds nothing as [], not as null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (s *Server) fileStatus(ctx context.Context, req pathRequest) (*FileStatus, error) {
	return s.daemon.FileStatus(ctx, req.Path)
}

func (s *Server) pause(ctx context.Context, req PauseRequest) (empty, error) {
	if req.For < 0 {
		return empty{}, fmt.Errorf("%w: a pause of %v", dbfs.ErrInvalid, req.For)
	}
	return empty{}, s.daemon.Pause(ctx, req.For)
}

func (s *Server) resume(ctx context.Context, _ empty) (empty, error) {
	return empty{}, s.daemon.Resume(ctx)
}

func (s *Server) list(ctx context.Context, req ListRequest, w *streamWriter) (any, error) {
	return empty{}, s.daemon.List(ctx, req, func(f *FileStatus) error { return w.item(f) })
}

func (s *Server) wait(ctx context.Context, req WaitRequest, w *streamWriter) (any, error) {
	return s.daemon.Wait(ctx, req, func(p Progress) error { return w.item(p) })
}

func (s *Server) grep(ctx context.Context, req GrepRequest, w *streamWriter) (any, error) {
	if len(req.Patterns) == 0 || req.Before < 0 || req.After < 0 {
		return nil, fmt.Errorf("%w: a grep for %d patterns with %d lines before and %d after",
			dbfs.ErrInvalid, len(req.Patterns), req.Before, req.After)
	}
	return s.daemon.Grep(ctx, req, func(e *GrepEvent) error { return w.item(e) })
}

func (s *Server) umount(ctx context.Context, req UmountRequest, w *streamWriter) (any, error) {
	return empty{}, s.daemon.Umount(ctx, req, func(p Progress) error { return w.item(p) })
}

// get makes a handler of a question without parameters.
func get[Out any](fn func(context.Context) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := fn(r.Context())
		reply(w, out, err)
	}
}

// post makes a handler of a question with parameters.
func post[In, Out any](fn func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := decode(w, r, &in); err != nil {
			replyError(w, err)
			return
		}
		out, err := fn(r.Context(), in)
		reply(w, out, err)
	}
}

// stream makes a handler of a question whose answer is a stream; fn returns what its last line holds.
func stream[In any](fn func(context.Context, In, *streamWriter) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := decode(w, r, &in); err != nil {
			replyError(w, err)
			return
		}
		out := newStreamWriter(w)
		out.end(fn(r.Context(), in, out))
	}
}

func decode(w http.ResponseWriter, r *http.Request, in any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%w: a request of more than %d bytes", dbfs.ErrTooLarge, maxRequest)
	}
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, in); err != nil {
		return fmt.Errorf("%w: the request: %v", dbfs.ErrInvalid, err)
	}
	return nil
}

func reply(w http.ResponseWriter, out any, err error) {
	if err != nil {
		replyError(w, err)
		return
	}
	b, err := json.Marshal(out)
	if err != nil {
		replyError(w, fmt.Errorf("encode reply: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(b, '\n'))
}

func replyError(w http.ResponseWriter, err error) {
	e := ErrorOf(err)
	b, _ := json.Marshal(errorReply{e}) // strings always encode
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status())
	w.Write(append(b, '\n'))
}

type errorReply struct {
	Error *Error `json:"error"`
}

func unknownRoute(w http.ResponseWriter, r *http.Request) {
	err := fmt.Errorf("%w: the running daemon does not know %s", dbfs.ErrUnsupported, strings.Trim(r.URL.Path, "/"))
	replyError(w, WithHint(err, "it may be older than this command: unmount and mount again"))
}

package control

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/dbfs/dbfs"
)

// maxProfile is how long a daemon may be asked to watch itself.
const maxProfile = 10 * time.Minute

// profile answers with what the process does for some time (kind cpu), or holds: a profile of
// package runtime/pprof, as "go tool pprof" reads it.
func profile(w http.ResponseWriter, r *http.Request) {
	kind, span := r.FormValue("kind"), r.FormValue("seconds")
	if kind != "cpu" {
		p := pprof.Lookup(kind)
		if p == nil {
			replyError(w, fmt.Errorf("%w: there is no profile %q", dbfs.ErrInvalid, kind))
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		p.WriteTo(w, 0)
		return
	}
	seconds, err := strconv.ParseFloat(span, 64)
	if err != nil || !(seconds > 0) || seconds > maxProfile.Seconds() {
		replyError(w, fmt.Errorf("%w: a profile of %q seconds", dbfs.ErrInvalid, span))
		return
	}
	if err := pprof.StartCPUProfile(w); err != nil {
		replyError(w, fmt.Errorf("%w: %v", dbfs.ErrBusy, err))
		return
	}
	defer pprof.StopCPUProfile()
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
	case <-r.Context().Done():
	}
}

// Profile copies a profile of the daemon to w. Kind cpu takes as long as told; heap, allocs,
// goroutine, mutex and block show what is now.
func (c *Client) Profile(ctx context.Context, kind string, span time.Duration, w io.Writer) error {
	if kind == "cpu" && (span <= 0 || span > maxProfile) {
		return fmt.Errorf("%w: a profile of %v; at most %v", dbfs.ErrInvalid, span, maxProfile)
	}
	q := url.Values{"kind": {kind}, "seconds": {strconv.FormatFloat(span.Seconds(), 'f', -1, 64)}}
	resp, err := c.send(ctx, http.MethodGet, "profile?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	return err
}

package control

import (
	"context"
	"net/http"
	"time"
)

// Why is a Daemon that can be asked who had what fetched.
type Why interface {
	Why(ctx context.Context, req WhyRequest) (*WhyReply, error)
}

// WhyRequest asks about files below a path, or of "" about programs.
type WhyRequest struct {
	Path  string `json:"path,omitempty"`
	Limit int    `json:"limit,omitempty"` // of files; 0: all that is remembered
}

// WhyReply says who had bytes fetched since the mount, as far as that is remembered.
type WhyReply struct {
	Since    time.Time    `json:"since"`
	Programs []WhyProgram `json:"programs"` // those that had most first; empty where a path is asked about
	Files    []WhyFile    `json:"files"`    // the latest first
	More     bool         `json:"more"`     // there are more than were asked for
}

// WhyProgram is all that one program has had.
type WhyProgram struct {
	Program string    `json:"program"`
	Command string    `json:"command,omitempty"` // of the last process of that name
	PID     int       `json:"pid,omitempty"`     // 0: a part of dbfs, or one that cannot be seen from here
	Files   int64     `json:"files"`
	Bytes   int64     `json:"bytes"`
	Refused int64     `json:"refused"` // files of which it got nothing
	Last    time.Time `json:"last"`
}

// WhyFile is what one program has had of one file.
type WhyFile struct {
	Path    string    `json:"path"`
	Program string    `json:"program"`
	Command string    `json:"command,omitempty"`
	PID     int       `json:"pid,omitempty"`
	Bytes   int64     `json:"bytes"`
	Refused bool      `json:"refused,omitempty"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// Why is Why's.
func (c *Client) Why(ctx context.Context, req WhyRequest) (*WhyReply, error) {
	return askFor[WhyReply](ctx, c, http.MethodPost, "why", req)
}

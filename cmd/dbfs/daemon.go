package main

import (
	"os"

	"github.com/dbfs/dbfs/cmd/dbfs/daemon"
)

// newDaemon builds the client that a mount runs.
func newDaemon(s mountSettings) (drive, error) {
	device, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return daemon.New(daemon.Settings{
		Profile: s.Profile, Mount: s.Mount, State: s.State, Cache: s.Cache, Socket: s.Socket,
		Server: s.Server, Token: s.Token, Device: device,
		CacheSize: s.CacheSize, UnsentSize: s.UnsentSize, MinFree: s.MinFree,
		AllowOther: s.AllowOther, ReadOnly: s.ReadOnly, Preserve: os.Geteuid() == 0,
		Source: s.Source, Version: thisVersion(), Log: s.Log,
	})
}

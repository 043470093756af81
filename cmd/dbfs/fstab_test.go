package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/dbfs/dbfs/cmd/dbfs/control"
)

func TestFstab(t *testing.T) {
	tests := []struct {
		argv, want []string
	}{
		{[]string{"dbfs", "status"}, []string{"status"}},
		{[]string{"/sbin/mount.fuse.dbfs", "work", "/srv"}, []string{"mount", "/srv", "--daemon", "--profile", "work"}},
		{[]string{"mount.dbfs", "none", "/srv", "-o", "defaults"}, []string{"mount", "/srv", "--daemon", "--profile", "default"}},
		{[]string{"mount.fuse.dbfs", "dbfs:work", "/srv", "-n", "-o", "rw,allow_other,cache_size=50GiB,_netdev,x-systemd.automount,nofail"},
			[]string{"mount", "/srv", "--daemon", "--profile", "work", "--allow-other", "--cache-size=50GiB"}},
		{[]string{"mount.fuse.dbfs", "-t", "fuse.dbfs", "-sf", "w", "/srv", "-o", "ro,owner,owner=self,state_dir=/a=b"},
			[]string{"mount", "/srv", "--daemon", "--profile", "w", "--read-only", "--owner=self", "--state-dir=/a=b"}},
	}
	for _, test := range tests {
		if got, err := fstabArgs(test.argv); !slices.Equal(got, test.want) || err != nil {
			t.Errorf("%q:\n got %q, %v\nwant %q", test.argv, got, err, test.want)
		}
	}
	for _, argv := range [][]string{{"mount.dbfs"}, {"mount.dbfs", "a"}, {"mount.dbfs", "a", "b", "c"}, {"mount.dbfs", "a", "/b", "-o", "--server"}} {
		if got, err := fstabArgs(argv); !errors.Is(err, control.ErrUsage) {
			t.Errorf("%q: %q, %v; want ErrUsage", argv, got, err)
		}
	}
}

// Loopback shows a directory through go-fuse's loopback file system, set up for speed: the
// kernel keeps names and attributes without a time limit, and files are passed through to the
// disk where it may. It is the reference for what FUSE costs, and no more than that: changes
// made behind its back are not seen.
//
//	loopback [-passthrough=false] MOUNTPOINT DIR
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	log.SetFlags(0)
	passthrough := flag.Bool("passthrough", true, "let the kernel read and write the files of the disk itself")
	flag.Parse()
	if flag.NArg() != 2 {
		log.Fatal("loopback [-passthrough=false] MOUNTPOINT DIR")
	}
	if err := serve(flag.Arg(0), flag.Arg(1), *passthrough); err != nil {
		log.Fatal("loopback: ", err)
	}
}

func serve(at, dir string, passthrough bool) error {
	syscall.Umask(0)
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		return err
	}
	if !passthrough {
		root, err = cachedRoot(dir)
		if err != nil {
			return err
		}
	}
	long := time.Hour
	server, err := fs.Mount(at, root, &fs.Options{
		EntryTimeout: &long, AttrTimeout: &long, NegativeTimeout: &long,
		NullPermissions: true,
		MountOptions: fuse.MountOptions{
			FsName: dir, Name: "loopback", Options: []string{"default_permissions"},
			DirectMount: os.Geteuid() == 0, MaxWrite: fuse.MAX_KERNEL_WRITE, MaxReadAhead: fuse.MAX_KERNEL_WRITE,
			DisableXAttrs: true, // or the kernel asks for security.capability before every write
		},
	})
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range stop {
			if err := server.Unmount(); err != nil {
				log.Print(err)
			}
		}
	}()
	server.Wait()
	return nil
}

// cachedRoot is a loopback whose files the kernel keeps in pages of its own.
func cachedRoot(dir string) (fs.InodeEmbedder, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return nil, err
	}
	root := &fs.LoopbackRoot{Path: dir, Dev: st.Dev}
	node := &cached{fs.LoopbackNode{RootData: root}}
	root.RootNode = node
	return node, nil
}

// A cached node opens files that are not passed through.
type cached struct{ fs.LoopbackNode }

var (
	_ fs.NodeOpener      = (*cached)(nil)
	_ fs.NodeCreater     = (*cached)(nil)
	_ fs.NodeWrapChilder = (*cached)(nil)
)

// WrapChild makes the nodes below a cached one cached, too.
func (n *cached) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &cached{fs.LoopbackNode{RootData: ops.(*fs.LoopbackNode).RootData}}
}

func (n *cached) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, _, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return plain{f.(*fs.LoopbackFile)}, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *cached) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	ino, f, _, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return ino, plain{f.(*fs.LoopbackFile)}, fuse.FOPEN_KEEP_CACHE, 0
}

// A plain file does not offer its descriptor to the kernel.
type plain struct{ *fs.LoopbackFile }

func (plain) PassthroughFd() (int, bool) { return 0, false }

package fs

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/cache"
)

func obeyACLs(cfg *Config, _ *cache.Options) { cfg.ACL = true }

// aclScript does all sorts of things with ACLs, and says what came of them.
const aclScript = `set -e
umask 027
mkdir d e
touch before
setfacl -m u:1234:rwx,g:4321:r-x d
setfacl -d -m u:1234:rw-,g::r-x,m::rwx d
touch d/f; mkdir d/sub; touch d/sub/g; mkfifo d/pipe; ln -s f d/link
mkdir -m 700 d/private; (umask 0; touch d/wide; mkdir d/sub/wide)
(umask 077; touch e/x; mkdir e/y)
chmod 640 d/f; chmod 2775 d/sub
setfacl -m u:99:r d/f
setfacl -b d/sub/g
setfacl -m u::rwx,g::r--,o::--- before
cp -p d/f d/copy
ln d/f d/hard
setfacl -m m::r d/f
setfacl -x u:99 d/hard
setfacl -m d:u:77:x d/sub; mkdir d/sub/deep; touch d/sub/deep/leaf
setfacl -k d; touch d/after
setfacl -k e
! setfacl -d -m u:1:r before 2>/dev/null
mv d/f e/moved
getfacl -Rnps . | sort -s -k1,1 -t@
find . -printf '%p %m %y\n' | sort
`

// What becomes of modes and ACLs is what becomes of them on the disk.
func TestACLs(t *testing.T) {
	needRoot(t)
	for _, tool := range []string{"setfacl", "getfacl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian's acl)", tool)
		}
	}
	run := func(dir string) (string, error) {
		cmd := exec.Command("sh", "-c", aclScript)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	want, err := run(t.TempDir())
	if err != nil {
		t.Skipf("the disk has no ACLs to compare with: %v\n%s", err, want)
	}
	d := newDrive(t, obeyACLs)
	d.must(os.Mkdir(d.path("top"), 0o755))
	got, err := run(d.path("top"))
	if err != nil || got != want {
		t.Fatalf("%v\n%s\non the disk:\n%s", err, got, want)
	}
	there := newElsewhere(d, d.root)
	there.take()
	d.remount()
	cmd := exec.Command("getfacl", "-nps", ".")
	cmd.Dir = d.path("top/d/sub")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "\ndefault:user:77:--x\n") {
		t.Errorf("after a restart: %v\n%s", err, out)
	}
}

// The kernel lets in whom an ACL lets in, also when it comes from another device.
func TestACLsAreObeyed(t *testing.T) {
	needRoot(t)
	d := newDrive(t, obeyACLs)
	there := newElsewhere(d, d.root)
	n := there.put(dbfs.Node{Name: "f", Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: 0o600}})
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("f"))) == nil })
	wantErrno(t, "without an ACL", childAs(t, somebody, "read", d.path("f")), unix.EACCES)
	lets := posixACL{{aclOwner, 6, ^uint32(0)}, {aclUser, 4, somebody}, {aclGroupObj, 0, ^uint32(0)}, {aclMask, 4, ^uint32(0)}, {aclOther, 0, ^uint32(0)}}
	n.Attr.Xattrs = map[string][]byte{aclAccess: lets.encode()}
	n = there.chmod(n, 0o640)
	there.advance()
	d.eventually("it lets somebody in", func() bool { return childAs(t, somebody, "read", d.path("f")) == nil })
	d.must(os.Chmod(d.path("f"), 0o600)) // takes the mask away
	wantErrno(t, "without a mask", childAs(t, somebody, "read", d.path("f")), unix.EACCES)
	d.must(os.Chmod(d.path("f"), 0o640))
	d.must(childAs(t, somebody, "read", d.path("f")))
}

func TestACLsAreNotKeptWhereTheyAreNotObeyed(t *testing.T) {
	d := newDrive(t)
	there := newElsewhere(d, d.root)
	lets := posixACL{{aclOwner, 6, ^uint32(0)}, {aclUser, 4, somebody}, {aclGroupObj, 0, ^uint32(0)}, {aclMask, 4, ^uint32(0)}, {aclOther, 0, ^uint32(0)}}
	n := there.put(dbfs.Node{Name: "f", Kind: dbfs.KindFile, Attr: dbfs.Attr{Mode: 0o640, Xattrs: map[string][]byte{aclAccess: lets.encode(), "user.a": {1}}}})
	there.advance()
	d.eventually("it is there", func() bool { return onlyErr(os.Stat(d.path("f"))) == nil })
	wantErrno(t, "set", unix.Setxattr(d.path("f"), aclAccess, lets.encode(), 0), unix.EOPNOTSUPP)
	wantErrno(t, "get", onlyErr(unix.Getxattr(d.path("f"), aclAccess, nil)), unix.EOPNOTSUPP)
	if got := d.xattrs(d.path("f")); !slices.Equal(got, []string{"user.a"}) {
		t.Errorf("listed: %v", got)
	}
	d.must(os.Chmod(d.path("f"), 0o604)) // who obeys it is to see the same mode
	there.take()
	a, ok := decodeACL(there.nodes[n.ID].Attr.Xattrs[aclAccess])
	if !ok || a.mode() != 0o604 {
		t.Errorf("the ACL has become %v", a)
	}
}

func FuzzACL(f *testing.F) {
	f.Add(posixACL{{aclOwner, 6, 0}, {aclGroupObj, 4, 0}, {aclOther, 0, 0}}.encode())
	f.Add([]byte{2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := decodeACL(b)
		if !ok {
			return
		}
		if got := string(a.encode()); got != string(b) {
			t.Fatalf("%x became %x", b, got)
		}
		if got := a.chmod(0o751).mode(); got != 0o751 {
			t.Fatalf("%v has mode %o after a chmod", a, got)
		}
		if got := a.within(0o640).mode(); got&^0o640 != 0 {
			t.Fatalf("%v gives more than was asked for: %o", a, got)
		}
	})
}

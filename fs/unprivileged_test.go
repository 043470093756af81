package fs

import (
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// inUserMode are the tests that are also run on a mount that a user without rights has made.
const inUserMode = "^(TestPosix|TestRefusals|TestLink.*|TestRenameOverALinkedName|TestMaildirDelivery|TestPipesAndSockets|TestFileWithoutAName|" +
	"TestCopyFileRange|TestCopyOfHoles|TestCopiesShareChunks|TestCopyOutlivesOriginal|TestRandomTree|TestXattrs|TestModes|TestVirtualAttributes|TestRemovedTree|TestRemote.*|TestOpen.*)$"

// asUser runs tests as a user for whom /dev/fuse is open, as it is on other machines, and whose
// mounts go with the tests.
const asUser = `set -e
user=$1 program=$2 tests=$3
mknod fuse c 10 229
chmod 666 fuse
mount --bind fuse /dev/fuse
exec setpriv --reuid=$user --regid=$user --clear-groups "$program" -test.run "$tests" -test.v -test.timeout 5m
`

// The same is true of a mount made through fusermount3 by a user without rights.
func TestAsAUser(t *testing.T) {
	needRoot(t)
	needFUSE(t)
	helper, err := exec.LookPath("fusermount3")
	if err != nil {
		t.Skip("fusermount3 is not installed: users cannot mount")
	}
	if info, err := os.Stat(helper); err != nil || info.Mode()&os.ModeSetuid == 0 {
		t.Skipf("%s is not setuid root: users cannot mount", helper)
	}
	for _, tool := range []string{"unshare", "setpriv"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	who, err := user.Lookup("nobody") // fusermount3 wants a user with a name
	if err != nil {
		t.Skip("there is no user called nobody")
	}
	uid, _ := strconv.Atoi(who.Uid)
	home, err := os.MkdirTemp("", "user")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	program := filepath.Join(home, "fs.test")
	for _, err := range []error{copyProgram(program), os.Chown(home, uid, uid), os.Chmod(home, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", asUser, "sh", who.Uid, program, inUserMode)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "TMPDIR=" + home, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	passed := strings.Count(text, "\n--- PASS") + strings.Count(text, "\n    --- PASS")
	if passed < 40 {
		t.Errorf("only %d tests passed:\n%s", passed, text)
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "--- SKIP") {
			t.Logf("skipped for the user:%s", strings.TrimRight(line, "\n"))
		}
	}
}

// copyProgram copies this test where everybody may read it.
func copyProgram(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, from); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

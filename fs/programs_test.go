package fs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Programs that people use, on a mount and, where it matters, on the disk beside it. A
// program that is not installed is skipped, by name.

// shell runs a script in which $D is an empty directory of the mount and $L one of the disk.
func (d *drive) shell(script string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit/2)
	defer cancel()
	disk := d.t.TempDir()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-euc", script)
	cmd.Env = append(os.Environ(), "D="+d.dir, "L="+disk, "HOME="+disk, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// source makes a tree of small files, directories and links on the disk.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 300 {
		p := filepath.Join(dir, fmt.Sprint("d", i%7), fmt.Sprint("e", i%3), fmt.Sprintf("file %d.txt", i))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, noise(uint64(i), i*i%70_000), os.FileMode(0o600+i%0o100)); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(1e9+int64(i), int64(i*1001))
		if err := os.Chtimes(p, when, when); err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 {
			if err := os.Symlink(filepath.Base(p), p+".link"); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestGit(t *testing.T) {
	need(t, "git")
	d := newDrive(t)
	got := d.shell(`
		cp -a ` + source(t) + ` "$D/repo" && cd "$D/repo"
		git init -q . && git add . && git commit -qm one
		echo more >> "d1/e1/file 1.txt" && git mv d2 moved && git rm -qr d3
		git commit -qam two
		git gc -q && git fsck --strict 2>&1
		git status --porcelain
		git clone -q "$D/repo" "$L/clone" && cd "$L/clone" && git log --oneline | wc -l
		diff -r --exclude=.git --no-dereference "$D/repo" "$L/clone" && echo same`)
	if want := "2\nsame\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTarCopyMoveSync(t *testing.T) {
	need(t, "tar", "diff", "cp", "mv")
	d := newDrive(t)
	src := source(t)
	d.shell(`
		tar -C ` + src + ` -cf "$L/a.tar" . && mkdir "$D/tar" && tar -C "$D/tar" -xf "$L/a.tar"
		tar -C "$D/tar" --compare -f "$L/a.tar"
		cp -a ` + src + ` "$D/copied" && mkdir "$D/in" && mv "$D/copied" "$D/in/moved"
		mv "$D/in" "$L/out" && mv "$L/out" "$D/back"
		diff -r --no-dereference ` + src + ` "$D/back/moved"
		tar -C "$D/back/moved" --compare -f "$L/a.tar"
		rm -r "$D/tar" && test "$(ls "$D")" = back`)
}

func TestRsync(t *testing.T) {
	need(t, "rsync")
	d := newDrive(t)
	src := source(t)
	got := d.shell(`
		rsync -a ` + src + `/ "$D/r"
		echo changed > "` + src + `/d0/new" && rm -r "` + src + `/d4"
		rsync -a --delete ` + src + `/ "$D/r"
		rsync -a --delete --checksum --dry-run --itemize-changes ` + src + `/ "$D/r"
		rsync -a "$D/r/" "$L/back"
		diff -r --no-dereference ` + src + ` "$L/back" && echo same`)
	if want := "same\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSqlite(t *testing.T) {
	need(t, "python3")
	if err := exec.Command("python3", "-c", "import sqlite3").Run(); err != nil {
		t.Skip("python3 has no sqlite3")
	}
	for _, mode := range []string{"delete", "truncate", "wal"} {
		t.Run(mode, func(t *testing.T) {
			d := newDrive(t)
			got := d.shell(`python3 - <<END
import sqlite3
db = sqlite3.connect("$D/data.db")
db.execute("pragma journal_mode=` + mode + `")
db.execute("create table t (n integer primary key, s text)")
for i in range(200):
	db.execute("insert into t values (?, ?)", (i, "x" * (i % 900)))
	db.commit()
db.close()
db = sqlite3.connect("$D/data.db")
print(db.execute("select count(*), sum(length(s)) from t").fetchone(), db.execute("pragma integrity_check").fetchone())
END
			cp "$D/data.db" "$L" && cmp "$D/data.db" "$L/data.db"`)
			if want := "(200, 19900) ('ok',)\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestGoBuild(t *testing.T) {
	need(t, "go")
	d := newDrive(t)
	d.must(os.Mkdir(d.path("m"), 0o755))
	d.write("m/go.mod", "module m\n")
	d.write("m/main.go", "package main\n\nfunc main() { println(answer()) }\n")
	d.write("m/answer.go", "package main\n\nfunc answer() int { return 42 }\n")
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	d.must(err)
	got := d.shell(`cd "$D/m" && export GOCACHE=` + strings.TrimSpace(string(cache)) + ` GOFLAGS=-mod=mod GOPATH="$L" && go build -o m . && ./m && go vet .`)
	if want := "42\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestEditorsSave saves as editors do: in place, by a new file renamed over the old one, and
// with the old one kept as a backup.
func TestEditorsSave(t *testing.T) {
	d := newDrive(t)
	d.write("text", "0\n")
	for i, save := range []string{
		`printf '%s\n' "$V" > "$D/text"`,
		`printf '%s\n' "$V" > "$D/.text.swp" && mv "$D/.text.swp" "$D/text"`,
		`mv "$D/text" "$D/text~" && printf '%s\n' "$V" > "$D/text" && rm "$D/text~"`,
		`cp -p "$D/text" "$D/text~" && printf '%s\n' "$V" > "$D/text" && sync -d "$D/text" && rm "$D/text~"`,
		`touch "$D/4913" && rm "$D/4913" && mv "$D/text" "$D/text~" && printf '%s\n' "$V" > "$D/text" && chmod 644 "$D/text" && rm -f "$D/text~"`,
		`sed -i "s/.*/$V/" "$D/text"`,
	} {
		if got, want := d.shell(fmt.Sprintf("V=%d; %s; cat $D/text; ls -A $D", i+1, save)), fmt.Sprintf("%d\ntext\n", i+1); got != want {
			t.Errorf("after %s: %q, want %q", save, got, want)
		}
	}
}

package server

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dbfs/dbfs"
	"github.com/dbfs/dbfs/remote"
)

var (
	testKey = &receiptKey{id: 7, secret: [32]byte{1, 2, 3}}
	testNow = time.Unix(1_700_000_000, 0)
)

func TestReceipt(t *testing.T) {
	ref := dbfs.ChunkRef{ID: dbfs.ChunkID{9, 8}, Len: 12345}
	good := testKey.seal(5, ref, testNow)
	if got, err := testKey.open(5, good, testNow.Add(receiptLife-time.Second)); err != nil || got != ref {
		t.Fatalf("opened: %v, %v; want %v", got, err, ref)
	}
	tests := []struct {
		name    string
		key     *receiptKey
		ns      dbfs.NamespaceID
		receipt dbfs.Receipt
		at      time.Time
	}{
		{"expired", testKey, 5, good, testNow.Add(receiptLife)},
		{"of another namespace", testKey, 6, good, testNow},
		{"of another key id", &receiptKey{id: 8, secret: testKey.secret}, 5, good, testNow},
		{"of another secret", &receiptKey{id: 7, secret: [32]byte{1}}, 5, good, testNow},
		{"empty", testKey, 5, "", testNow},
		{"cut", testKey, 5, good[:len(good)-2], testNow},
		{"longer", testKey, 5, good + "AAAA", testNow},
		{"huge", testKey, 5, dbfs.Receipt(strings.Repeat("A", 1<<20)), testNow},
		{"not base64", testKey, 5, "!" + good[1:], testNow},
		{"signed for something else", testKey, 5, dbfs.Receipt(testKey.sign("upload", make([]byte, receiptBody))), testNow},
	}
	for _, test := range tests {
		if got, err := test.key.open(test.ns, test.receipt, test.at); err == nil {
			t.Errorf("a receipt %s opened to %v", test.name, got)
		}
	}
}

func TestChangedReceiptIsRefused(t *testing.T) {
	good := string(testKey.seal(5, dbfs.ChunkRef{ID: dbfs.ChunkID{9}, Len: 10}, testNow))
	for i := range good {
		other := "A"
		if good[i] == 'A' {
			other = "B"
		}
		changed := good[:i] + other + good[i+1:]
		if got, err := testKey.open(5, dbfs.Receipt(changed), testNow); err == nil {
			t.Errorf("letter %d changed: opened to %v", i, got)
		}
	}
}

func TestReceiptOfNewerVersion(t *testing.T) {
	b := make([]byte, receiptBody)
	b[0] = receiptVersion + 1
	if _, err := testKey.open(5, dbfs.Receipt(testKey.sign("receipt", b)), testNow); !errors.Is(err, dbfs.ErrVersion) {
		t.Errorf("%v, want ErrVersion", err)
	}
}

func TestReceiptKeyRow(t *testing.T) {
	row := append([]byte{receiptKeyVersion, 0, 0, 0, 7}, testKey.secret[:]...)
	if got, err := decodeReceiptKey(row); err != nil || *got != *testKey {
		t.Errorf("decoded: %v, %v", got, err)
	}
	for _, test := range []struct {
		row  []byte
		want error
	}{
		{nil, dbfs.ErrCorrupt},
		{row[:36], dbfs.ErrCorrupt},
		{append([]byte{receiptKeyVersion + 1}, row[1:]...), dbfs.ErrVersion},
	} {
		if _, err := decodeReceiptKey(test.row); !errors.Is(err, test.want) {
			t.Errorf("row of %d bytes: %v, want %v", len(test.row), err, test.want)
		}
	}
}

func FuzzOpenReceipt(f *testing.F) {
	f.Add(string(testKey.seal(5, dbfs.ChunkRef{Len: 1}, testNow)))
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := testKey.open(5, dbfs.Receipt(text), testNow)
		if err == nil && testKey.seal(5, ref, testNow) != dbfs.Receipt(text) {
			t.Fatalf("opened %q, which was not given", text)
		}
	})
}

func FuzzOpenTicket(f *testing.F) {
	tk := ticket{ns: 5, account: 6, expiry: testNow.Unix() + 1, random: 7}
	f.Add(testKey.sealTicket(tk))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := testKey.openTicket(5, 6, text, testNow)
		if err == nil && testKey.sealTicket(got) != text {
			t.Fatalf("opened %q, which was not given", text)
		}
	})
}

func TestTicketRoundTrip(t *testing.T) {
	want := ticket{
		ns: 5, account: 6, expiry: testNow.Unix() + 1, random: 7,
		object: remote.NewObject{Chunk: dbfs.ChunkRef{ID: dbfs.ChunkID{1}, Len: 2}, Size: 3, SHA256: dbfs.ChunkID{4}},
	}
	text := testKey.sealTicket(want)
	if got, err := testKey.openTicket(5, 6, text, testNow); err != nil || got != want {
		t.Errorf("opened: %+v, %v; want %+v", got, err, want)
	}
	if len(text) > remote.MaxTicket {
		t.Errorf("a ticket of %d letters; the limit is %d", len(text), remote.MaxTicket)
	}
}

func TestObjectNames(t *testing.T) {
	id := dbfs.ChunkID{0x7f, 1}
	name := objectName(id, 9)
	if want := "c/7f/" + id.String() + "-0000000000000009"; name != want {
		t.Errorf("named %s, want %s", name, want)
	}
	if got, err := chunkOf(name); got != id || err != nil {
		t.Errorf("holds %s, %v; want %s", got, err, id)
	}
	for _, bad := range []string{"", "c/7f", "c/7f/", "c/7f/zz-1", "c/7f/7f01-1", "p/7f/" + id.String() + "-1", "c/7f/" + id.String() + "00-1"} {
		if got, err := chunkOf(bad); !errors.Is(err, dbfs.ErrCorrupt) {
			t.Errorf("%q holds %s, %v; want ErrCorrupt", bad, got, err)
		}
	}
}

package journal

import "github.com/dbfs/dbfs"

// maxTxn is about how many bytes one transaction may write, with what the database adds to
// each key, unless Config says else; cache.KV takes twice as much. Tests make it smaller.
var maxTxn = 500 << 10

// txnBytes is about how many bytes one transaction of the journal's may write.
func (j *Journal) txnBytes() int {
	if j.cfg.TxnBytes > 0 {
		return j.cfg.TxnBytes
	}
	return maxTxn
}

// writes are changes of the database that may be spread over several transactions.
type writes []write

type write struct {
	bytes int // about
	do    func(dbfs.Txn) error
}

func (ws *writes) add(bytes int, do func(dbfs.Txn) error) { *ws = append(*ws, write{bytes, do}) }

func (ws writes) weight() int {
	sum := 0
	for _, w := range ws {
		sum += w.bytes
	}
	return sum
}

// do makes all changes in one transaction.
func (ws writes) do(txn dbfs.Txn) error {
	for _, w := range ws {
		if err := w.do(txn); err != nil {
			return err
		}
	}
	return nil
}

// run makes the changes in as few transactions as hold them, of most bytes each.
func (ws writes) run(kv dbfs.KV, most int) error {
	for len(ws) > 0 {
		n, sum := 0, 0
		for n < len(ws) && (n == 0 || sum+ws[n].bytes <= most) {
			sum += ws[n].bytes
			n++
		}
		if err := kv.Update(ws[:n].do); err != nil {
			return err
		}
		ws = ws[n:]
	}
	return nil
}

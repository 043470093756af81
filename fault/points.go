package fault

// The places where a crash must lose nothing. Each is in the source once, with Here, and stands
// for a row of this table of crashes:
//
//	c1  during a write, before fsync       not promised; but never a mixture of two versions
//	c2  after fsync                        bytes and edit are there, and are sent
//	c3  sealed, nothing uploaded           asked for again, and uploaded
//	c4  uploaded, not registered           uploaded again under another name
//	c5  registered, no receipt             asked for again: the server has it
//	c6  receipt expired while offline      as c5; receipts do not outlive the process
//	c7  batch sent, no answer              sent again, the same bytes under the same number
//	c8  answer there, not noted            as c7: the server repeats its answer
//	c9  answer noted, log not read         the log shows the batch, and its edits go
//	c10 between two pages of the log       the log is read on from there
//	c11 while edits are reconciled         reconciled again: the last transaction makes it count
//	c12 during a listing of the tree       listed again; the old tree is shown until the last transaction
//	c13 the state directory is lost        everything is listed anew
//	s1  server: committed, nobody told     the next poll or pull finds it
//	s5  server: within any other step      each is one transaction or one change of one row
const (
	// c1: a write has changed a large file's draft; nothing is sealed yet.
	DraftWritten Point = "cache.draft-written"
	// c1: what a write is about to destroy has been copied aside; the book does not say so yet.
	AsideCopied Point = "cache.aside-copied"
	// c1: a large draft's bytes are on the disk, for an fsync; nothing says that they are promised.
	PromiseSynced Point = "cache.promise-synced"
	// c1: the chunks of a large draft have their names; none is in the book.
	SealHashed Point = "cache.seal-hashed"
	// c1: the chunks of a draft are in the book as unsent; no edit names them.
	SealEntered Point = "cache.seal-entered"
	// c1: the changed chunks of a draft in a file that is lent lie by themselves; none is in the book.
	LentCutOut Point = "cache.lent-cut-out"
	// c1: the file system knows what was sealed, and has not recorded it.
	SealedUnrecorded Point = "fs.sealed-unrecorded"

	// c2: an edit is in the journal's database, and not synced; nobody has heard of it.
	EditRecorded Point = "journal.edit-recorded"
	// c2: bytes and edits are synced; who asked for it does not know.
	EditSynced Point = "journal.synced"

	// c2: a file that is moved to another namespace is recorded there; its deletion is not.
	CopiedNotDeleted Point = "journal.copied-not-deleted"
	// c9: what was moved to another namespace has arrived; its deletion goes on, and that is still noted there.
	CarriedOn Point = "journal.carried-on"
	// c2: an Update of a database is in its log; nobody sees it yet.
	UpdateLogged Point = "cache.update-logged"
	// c2: Badger has a layer of updates; it is not synced, and their log still counts.
	LayerPoured Point = "cache.layer-poured"

	// c3: sealed and recorded, nothing uploaded.
	UploadBegins Point = "syncer.upload-begins"
	// c4: an object is in the store; the server has not been told.
	PutUnregistered Point = "remote.put-unregistered"
	// c5: the server knows of an object; its receipt is lost.
	ReceiptLost Point = "remote.receipt-lost"

	// c7: a batch is written down, and not sent.
	BatchTaken Point = "journal.batch-taken"
	// c8: a batch is answered, and the answer not noted.
	AnswerUnnoted Point = "syncer.answer-unnoted"
	// c9: the answer is noted; the log has not shown the batch.
	AckedUnseen Point = "syncer.acked-unseen"
	// c9: the log has shown a batch, and it has left the journal; its chunks are still unsent.
	SettledPinned Point = "journal.settled-pinned"

	// c10: one page of the log is applied, and the next is not.
	BetweenPages Point = "journal.between-pages"
	// c10: the tree has nodes of a batch that is too large for one transaction; the cursor is before it.
	BatchPreloaded Point = "journal.batch-preloaded"

	// c11: every edit is reconciled in memory; nothing is written.
	RebaseBegins Point = "journal.rebase-begins"
	// c11: the edits are written anew beside the old ones, which still count.
	RebaseWritten Point = "journal.rebase-written"
	// c11: the new edits count; what is left of the old ones is not cleared away.
	RebaseCounts Point = "journal.rebase-counts"

	// c12: a page of a listing is there; the old tree is shown.
	ListingPage Point = "journal.listing-page"
	// c12: all is listed; the old tree is shown.
	ListingSwaps Point = "journal.listing-swaps"
	// c12: the new tree is shown; the old one is not cleared away.
	ListingSwapped Point = "journal.listing-swapped"

	// A chunk has been fetched and lies in its file; the book of clean bytes does not say so.
	ChunkFetched Point = "cache.chunk-fetched"
	// A chunk lies by itself among the clean bytes; their book does not say so.
	ChunkKept Point = "cache.chunk-kept"
	// A chunk is evicted by the book; its bytes are still there.
	ChunkEvicted Point = "cache.chunk-evicted"
	// A chunk that was sent is clean by one book, and unsent by the other.
	ChunkUnpinned Point = "cache.chunk-unpinned"
	// A body is in both books, and its file where it was.
	BodyEntered Point = "cache.body-entered"
	// A body is in both books, and its file where it goes.
	BodyMoved Point = "cache.body-moved"

	// s1: a batch is in the server's database; no device has been told, and nobody answered.
	CommitUnheard Point = "server.commit-unheard"
	// s5: a chunk's row says that it is stored; who uploaded it has no receipt.
	ChunkRegistered Point = "server.chunk-registered"
	// s5: garbage: versions of a file are forgotten; its log entries are not.
	VersionsForgotten Point = "server.versions-forgotten"
	// s5: garbage: the beginning of a log is dropped.
	LogTrimmed Point = "server.log-trimmed"
	// s5: garbage: a chunk that nothing names is condemned.
	ChunkCondemned Point = "server.chunk-condemned"
	// s5: garbage: a chunk's row says that it is being deleted; its object is there.
	ChunkDying Point = "server.chunk-dying"
	// s5: garbage: an object is deleted, and its chunk's row is there.
	ObjectDeleted Point = "server.object-deleted"
	// s5: batches have been judged, and their group is not on the disk.
	GroupGathered Point = "badgerdb.group-gathered"
	// s5: a group of batches is on the disk; none of them is answered.
	GroupWritten Point = "badgerdb.group-written"
)

// Points is all of them, in the order above.
var Points = []Point{
	DraftWritten, AsideCopied, PromiseSynced, SealHashed, SealEntered, LentCutOut, SealedUnrecorded,
	EditRecorded, EditSynced,
	CopiedNotDeleted, CarriedOn, UpdateLogged, LayerPoured,
	UploadBegins, PutUnregistered, ReceiptLost,
	BatchTaken, AnswerUnnoted, AckedUnseen, SettledPinned,
	BetweenPages, BatchPreloaded,
	RebaseBegins, RebaseWritten, RebaseCounts,
	ListingPage, ListingSwaps, ListingSwapped,
	ChunkFetched, ChunkKept, ChunkEvicted, ChunkUnpinned, BodyEntered, BodyMoved,
	CommitUnheard, ChunkRegistered,
	VersionsForgotten, LogTrimmed, ChunkCondemned, ChunkDying, ObjectDeleted,
	GroupGathered, GroupWritten,
}

// Package index finds files by their words and by regular expressions. One Index serves
// one namespace and lives in one directory; it is derived data, so that losing it costs
// time and nothing else.
//
// A document is either a content (the bytes of a file, indexed once however many files
// hold them) or a name (one file or directory: its name, size and time, and a link to its
// content's document). Renaming, moving or copying a file writes a small name document;
// paths are stored nowhere: whoever opens the index answers for them (Tree). Documents
// are numbered upwards for ever; a changed file gets new documents and its old ones die.
//
// A key is a kind byte and a term; its list names the documents that have it:
//
//	c  the first half of a content id: the content's document and the names linked to it
//	e  a file name's extension
//	g  three bytes in a row (a trigram) of a text, folded: what grep plans with
//	i  a node id: its name document
//	l  (no term) contents of which only the beginning is indexed
//	n  a word of a name
//	u  (no term) names whose content has not been looked into
//	w  a word of a text, with its positions
//
// New documents enter the memory segment and are found at once. When it is full, or has
// waited a minute, it becomes a segment: an immutable file. Six neighbouring segments of
// one level are merged into one of the next. Deaths are a bit set beside each segment.
// The MANIFEST says which files count, and up to which mark of its feeder they are
// complete: after a crash the feeder repeats what came after the mark.
package index

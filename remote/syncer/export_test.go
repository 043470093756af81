package syncer

const (
	PageEntries = pageEntries
	ReceiptLife = receiptLife
)

var Backoff = backoff

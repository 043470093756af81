package syncer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dbfs/dbfs/remote/chunktest"
)

// While somebody makes many changes the transfers of others take a part of the machine only; but
// they do go on, for however long that lasts, and when it is over nothing holds them back.
func TestTransfersGiveWay(t *testing.T) {
	const files, each = 40, 10 * time.Millisecond
	sends := func(busy bool) time.Duration {
		var took time.Duration
		bubble(t, func(t *testing.T, w *world) {
			alice := w.client("alice")
			alice.put("first", "is here")
			alice.sent()
			alice.busy.Store(busy)
			alice.chunks.Order(chunktest.Fault{On: chunktest.Put, Delay: each, Times: -1})
			for i := range files {
				alice.put(fmt.Sprint("f", i), fmt.Sprint("text ", i))
			}
			begun := time.Now()
			alice.sent()
			took = time.Since(begun)
		})
		return took
	}
	if took := sends(true); took < 4*files*each || took > 8*files*each {
		t.Errorf("with somebody busy %d chunks of %v took %v", files, each, took)
	}
	if took := sends(false); took > files*each/2 {
		t.Errorf("with nobody busy %d chunks of %v took %v", files, each, took)
	}
}

// The crowd passes: what was resting goes on.
func TestTransfersGoOnAfterACrowd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		alice := w.client("alice")
		alice.put("first", "is here")
		alice.sent()
		alice.busy.Store(true)
		alice.chunks.Order(chunktest.Fault{On: chunktest.Put, Delay: time.Minute, Times: 1})
		alice.put("a", "one")
		alice.await("puts the first chunk", func() bool { return alice.chunks.Calls(chunktest.Put) > 1 }, nil)
		time.Sleep(time.Minute)
		alice.busy.Store(false)
		begun := time.Now()
		alice.put("b", "two")
		alice.sent()
		if took := time.Since(begun); took > 600*time.Millisecond {
			t.Errorf("after the crowd a change took %v", took)
		}
	})
}

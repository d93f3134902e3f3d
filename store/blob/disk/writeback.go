package disk

import "os"

// writebackStep is after how many bytes the volume gets to work. Left to the
// kernel, most of a large content still lies in memory when it is synced, and
// the client waits for all of it then.
const writebackStep = 8 << 20

// writeback has the volume write a content while it comes in.
type writeback struct {
	f        *os.File
	from, at int64 // offsets in the file: what was not asked for yet
}

func (w *writeback) wrote(n int) {
	w.at += int64(n)
	if w.at-w.from >= writebackStep {
		startWriteback(w.f, w.from, w.at-w.from)
		w.from = w.at
	}
}

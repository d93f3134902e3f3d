package blob

import "sync"

// Buffer is the memory that a content is moved through. Its zero value is
// ready. It is used by one goroutine, which frees it.
//
// How much is read at once decides what a large upload costs: with 2 MiB it
// takes a sixth less CPU than with 512 KiB, and a third less than with 128 KiB
// (docs/performance.md). But most contents are small, and of a slow client
// little comes at once, for hours. So a buffer grows when a read has filled it,
// shrinks when next to nothing came, and only so many are of the largest size.
type Buffer struct {
	b     *[]byte
	level int // of b, in levels
	least int // level from which it does not shrink
}

var levels = [...]*sync.Pool{
	buffers(32 << 10), buffers(128 << 10), buffers(512 << 10), buffers(2 << 20),
}

func buffers(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

// slots bounds the buffers of the largest size that are in use: 16 MiB.
var slots = make(chan struct{}, 8)

// Next is the buffer for the next read, behind one that yielded got bytes or,
// for the first one, if got bytes are known to come. What it returned before
// must not be used any more.
func (b *Buffer) Next(got int64) []byte {
	switch {
	case b.b == nil:
		b.least = 0
		if got >= 64<<10 {
			b.least = 1
		}
		b.take(b.least)
	case got == int64(len(*b.b)) && b.level < len(levels)-1:
		b.take(b.level + 1)
	case got < int64(len(*b.b))/16 && b.level > b.least:
		b.take(b.level - 1)
	}
	return *b.b
}

// Free gives the memory back.
func (b *Buffer) Free() {
	if b.b == nil {
		return
	}
	levels[b.level].Put(b.b)
	if b.level == len(levels)-1 {
		<-slots
	}
	b.b = nil
}

// take changes to a level; to the highest one only if there is a slot.
func (b *Buffer) take(level int) {
	if level == len(levels)-1 {
		select {
		case slots <- struct{}{}:
		default:
			return
		}
	}
	b.Free()
	b.level, b.b = level, levels[level].Get().(*[]byte)
}

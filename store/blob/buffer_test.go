package blob_test

import (
	"testing"

	"upload-service/store/blob"
)

// TestBuffer: a buffer grows with the speed of its client and shrinks again, and
// only so many are of the largest size.
func TestBuffer(t *testing.T) {
	const smallest, largest = 32 << 10, 2 << 20
	// move reads ten times, as much as full says of the buffer's size.
	move := func(b *blob.Buffer, full float64) int {
		size := 512 << 10
		for range 10 {
			size = len(b.Next(int64(full * float64(size))))
		}
		return size
	}
	var many [20]blob.Buffer
	n := 0
	for i := range many {
		many[i].Next(-1)
		if move(&many[i], 1) == largest {
			n++
		}
	}
	if n != 8 {
		t.Errorf("%d buffers have the largest size, want 8", n)
	}
	var one blob.Buffer
	one.Next(-1)
	if size := move(&one, 1); size != 512<<10 {
		t.Errorf("one more has %d bytes, want 512 KiB", size)
	}
	if size := move(&one, 0.5); size != 512<<10 {
		t.Errorf("of a client that keeps up it has %d bytes", size)
	}
	if size := move(&one, 0.01); size != smallest {
		t.Errorf("of a slow client it has %d bytes", size)
	}
	move(&many[0], 0.01)
	if size := move(&one, 1); size != largest {
		t.Errorf("when one of the largest is free it has %d bytes", size)
	}
	for i := range many {
		many[i].Free()
	}
	one.Free()
	one.Free() // does nothing
	for known, want := range map[int64]int{-1: smallest, 5: smallest, 64 << 10: 128 << 10, 1 << 30: 128 << 10} {
		if size := len(one.Next(known)); size != want {
			t.Errorf("of %d bytes that will come the first has %d, want %d", known, size, want)
		}
		one.Free()
	}
	one.Next(64 << 10)
	if size := move(&one, 0.01); size != 128<<10 {
		t.Errorf("of a piece whose size is known it has %d bytes", size)
	}
	one.Free()
}

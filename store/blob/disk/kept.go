package disk

import (
	"os"
	"sync"

	"upload-service/store/blob"
)

// maxKept bounds the descriptors that wait for a next piece.
const maxKept = 128

// kept holds contents open between two pieces: to open and close the file took
// an eighth of the CPU of a piece of 64 KiB. What the store deletes is not here,
// and takes no room.
type kept struct {
	mu    sync.Mutex
	files map[blob.Ref]*os.File // nil when closed
}

func newKept() *kept { return &kept{files: map[blob.Ref]*os.File{}} }

// take gives the file to the caller, nil if it is not here.
func (k *kept) take(ref blob.Ref) *os.File {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.files[ref]
	delete(k.files, ref)
	return f
}

// put keeps the file and reports whether it did. A file whose name went before
// is not kept; where the name goes later, drop follows.
func (k *kept) put(ref blob.Ref, f *os.File) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.files == nil || !hasName(f) {
		return false
	}
	if old := k.files[ref]; old != nil {
		old.Close()
	} else if len(k.files) == maxKept {
		for other, f := range k.files {
			f.Close()
			delete(k.files, other)
			break
		}
	}
	k.files[ref] = f
	return true
}

// drop closes the file of a content whose name went.
func (k *kept) drop(ref blob.Ref) {
	if f := k.take(ref); f != nil {
		f.Close()
	}
}

func (k *kept) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.files {
		f.Close()
	}
	k.files = nil
}

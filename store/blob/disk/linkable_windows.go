package disk

import "io/fs"

// Linkable foretells whether Adopt can link a file into a store that lies in a
// folder. There it is not known before.
func Linkable(_, _ fs.FileInfo) bool { return true }

package store

import (
	"encoding/binary"
	"hash/fnv"
	"time"

	"upload-service/store/blob"
)

// The key layout, all of it. Owner-first, fixed-width ids, and a zero byte
// after the owner: no owner id or path contains one, so a scan of one owner
// can never reach another. Package auth has the prefix "a/" to itself.
//
//	m/format                              layout version
//	m/adoption                            whether the earlier service's files are adopted
//	o/<owner>                             Owner
//	l/<slug, lower case>                  owner id
//	q/<owner>                             Usage
//	u/<owner> 0 <token>                   Upload
//	n/<owner> 0 <inverted time><token>    uploads that are not over, newest first
//	f/<owner> 0 <path>                    File
//	i/<owner> 0 <file id>                 path
//	c/<owner> 0 <inverted time><file id>  path: files, newest first
//	z/<owner> 0 <file id><inv. version>   trashed
//	y/<owner> 0 <batch><file id>          trashed together; or moved: the path before
//	v/<owner> 0 <path>                    mark: the visible tree may differ here
//	b/<blob>                              which record holds the blob
//	g/<blob>                              garbage
//	e/<epoch>                             open epoch
//	x/<shard><minute><kind><owner> 0 <id> expiry: a hint, the record decides
//	h/<blob>                              undigested: its SHA-256 is to be computed
//	d/<name below the upload folder>      leftover: a name that adoption has to remove
//	w/<id>                                preview of a sweep
//	r/<inverted time>                     report of a sweep
const (
	keyFormat        = "m/format"
	keyAdoption      = "m/adoption"
	prefixOwner      = "o/"
	prefixSlug       = "l/"
	prefixUsage      = "q/"
	prefixUpload     = "u/"
	prefixNewUp      = "n/"
	prefixFile       = "f/"
	prefixFileID     = "i/"
	prefixNewFile    = "c/"
	prefixTrash      = "z/"
	prefixBatch      = "y/"
	prefixMark       = "v/"
	prefixBlob       = "b/"
	prefixGarbage    = "g/"
	prefixEpoch      = "e/"
	prefixExpiry     = "x/"
	prefixUndigested = "h/"
	prefixLeftover   = "d/"
	prefixPreview    = "w/"
	prefixReport     = "r/"
)

// expiryShards spreads the expiry index, so that writers on a distributed
// engine do not all append to one place.
const expiryShards = 16

// Kinds of expiry entries.
const (
	expireUpload  = 'u'
	expireTrash   = 'z'
	expireMove    = 'y'
	expirePreview = 'w'
)

func ownerKey(o OwnerID) []byte    { return []byte(prefixOwner + string(o)) }
func slugIndex(slug string) []byte { return []byte(prefixSlug + slugKey(slug)) }
func usageKey(o OwnerID) []byte    { return []byte(prefixUsage + string(o)) }

// owned is prefix, owner, a zero byte and the rest.
func owned(prefix string, o OwnerID, rest ...[]byte) []byte {
	n := len(prefix) + len(o) + 1
	for _, r := range rest {
		n += len(r)
	}
	k := make([]byte, 0, n)
	k = append(k, prefix...)
	k = append(k, o...)
	k = append(k, 0)
	for _, r := range rest {
		k = append(k, r...)
	}
	return k
}

func uploadKey(o OwnerID, t Token) []byte   { return owned(prefixUpload, o, t.bytes()) }
func fileKey(o OwnerID, p Path) []byte      { return owned(prefixFile, o, []byte(p)) }
func fileIDKey(o OwnerID, id FileID) []byte { return owned(prefixFileID, o, id[:]) }
func markKey(o OwnerID, p Path) []byte      { return owned(prefixMark, o, []byte(p)) }

func newUploadKey(o OwnerID, at time.Time, t Token) []byte {
	return owned(prefixNewUp, o, invertedTime(at), t.bytes())
}

func newFileKey(o OwnerID, at time.Time, id FileID) []byte {
	return owned(prefixNewFile, o, invertedTime(at), id[:])
}

func trashKey(o OwnerID, id FileID, version uint64) []byte {
	return owned(prefixTrash, o, id[:], binary.BigEndian.AppendUint64(nil, ^version))
}

func batchKey(o OwnerID, b BatchID, id FileID) []byte { return owned(prefixBatch, o, b[:], id[:]) }

func blobKey(r blob.Ref) []byte       { return []byte(prefixBlob + string(r)) }
func garbageKey(r blob.Ref) []byte    { return []byte(prefixGarbage + string(r)) }
func epochKey(e string) []byte        { return []byte(prefixEpoch + e) }
func undigestedKey(r blob.Ref) []byte { return []byte(prefixUndigested + string(r)) }
func leftoverKey(name string) []byte  { return []byte(prefixLeftover + name) }
func previewKey(id string) []byte     { return []byte(prefixPreview + id) }
func reportKey(at time.Time) []byte {
	return append([]byte(prefixReport), invertedTime(at)...)
}

// invertedTime sorts later times first.
func invertedTime(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, ^uint64(t.UnixNano()))
}

// expiryKey files id under the minute in which it is due.
func expiryKey(due time.Time, kind byte, o OwnerID, id []byte) []byte {
	h := fnv.New32a()
	h.Write([]byte(o))
	h.Write(id)
	k := append([]byte(prefixExpiry), byte(h.Sum32()%expiryShards))
	k = binary.BigEndian.AppendUint32(k, minute(due))
	k = append(k, kind)
	k = append(k, o...)
	k = append(k, 0)
	return append(k, id...)
}

func minute(t time.Time) uint32 { return uint32(t.Unix() / 60) }

// expiryRange spans the entries of one shard that are due by the end of the
// minute of now.
func expiryRange(shard byte, now time.Time) (lo, hi []byte) {
	lo = append([]byte(prefixExpiry), shard)
	hi = binary.BigEndian.AppendUint32(append([]byte(prefixExpiry), shard), minute(now)+1)
	return lo, hi
}

// parseExpiryKey is the inverse of expiryKey, but for the time.
func parseExpiryKey(k []byte) (kind byte, o OwnerID, id []byte, ok bool) {
	const fixed = len(prefixExpiry) + 1 + 4 + 1
	if len(k) < fixed {
		return 0, "", nil, false
	}
	kind = k[7]
	for i := fixed; i < len(k); i++ {
		if k[i] == 0 {
			return kind, OwnerID(k[fixed:i]), k[i+1:], true
		}
	}
	return 0, "", nil, false
}

// splitOwned is the inverse of owned.
func splitOwned(prefix string, k []byte) (o OwnerID, rest []byte, ok bool) {
	for i := len(prefix); i < len(k); i++ {
		if k[i] == 0 {
			return OwnerID(k[len(prefix):i]), k[i+1:], true
		}
	}
	return "", nil, false
}

// after is the smallest key greater than k.
func after(k []byte) []byte { return append(append(make([]byte, 0, len(k)+1), k...), 0) }

// prefixEnd is the smallest key greater than every key with the prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}

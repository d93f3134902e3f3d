package handlers

import (
	"bytes"
	"crypto/sha1" // tus demands it, against accidents only
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
)

// checksumAlgorithms are those of Upload-Checksum, as OPTIONS announces them.
const checksumAlgorithms = "sha1,sha256,sha512,crc32"

func newChecksum(algorithm string) hash.Hash {
	switch algorithm {
	case "sha1":
		return sha1.New()
	case "sha256":
		return sha256.New()
	case "sha512":
		return sha512.New()
	case "crc32":
		return crc32.NewIEEE()
	}
	return nil
}

// checksum reads Upload-Checksum, nil if there is none. It may follow the body
// as a trailer; then every algorithm runs, since which one counts is not known.
func checksum(c *fiber.Ctx) (store.Checker, error) {
	const field = "Upload-Checksum"
	if value := c.Get(field); value != "" {
		algorithm, want, err := parseChecksum(value)
		if err != nil {
			return nil, err
		}
		return &checksumHeader{newChecksum(algorithm), want}, nil
	}
	for name := range strings.SplitSeq(c.Get(fiber.HeaderTrailer), ",") {
		if strings.EqualFold(strings.TrimSpace(name), field) {
			t := &checksumTrailer{sums: map[string]hash.Hash{}, read: func() string { return c.Get(field) }}
			for algorithm := range strings.SplitSeq(checksumAlgorithms, ",") {
				t.sums[algorithm] = newChecksum(algorithm)
			}
			return t, nil
		}
	}
	return nil, nil
}

// parseChecksum reads an algorithm, a space and the checksum in base64.
func parseChecksum(value string) (algorithm string, want []byte, err error) {
	algorithm, encoded, _ := strings.Cut(value, " ")
	want, err = base64.StdEncoding.DecodeString(encoded)
	h := newChecksum(algorithm)
	if err != nil || h == nil || len(want) != h.Size() {
		return "", nil, store.FieldErrorf("Upload-Checksum",
			"Upload-Checksum is one of %s, a space, and the checksum in base64.", checksumAlgorithms)
	}
	return algorithm, want, nil
}

var errChecksum = store.Errorf(store.CodeBadChecksum, "The bytes that arrived do not match their checksum; send them again.")

// checksumHeader is known before the bytes.
type checksumHeader struct {
	hash.Hash
	want []byte
}

// Check implements store.Checker.
func (h *checksumHeader) Check() error {
	if !bytes.Equal(h.Sum(nil), h.want) {
		return errChecksum
	}
	return nil
}

// checksumTrailer is known behind the bytes.
type checksumTrailer struct {
	sums map[string]hash.Hash
	read func() string
}

// Write implements store.Checker.
func (t *checksumTrailer) Write(p []byte) (int, error) {
	for _, h := range t.sums {
		h.Write(p)
	}
	return len(p), nil
}

// Check implements store.Checker.
func (t *checksumTrailer) Check() error {
	algorithm, want, err := parseChecksum(t.read())
	if err != nil {
		return err
	}
	if !bytes.Equal(t.sums[algorithm].Sum(nil), want) {
		return errChecksum
	}
	return nil
}

package store

import (
	"regexp"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Limits of what people attach to a file; sizes in bytes.
const (
	MaxMetadataKeys  = 24
	MaxMetadataValue = 1024
	MaxTags          = 20
	MaxTag           = 64
)

var metadataKey = regexp.MustCompile(`^[a-z0-9_.-]{1,64}$`)

// CheckMetadata returns meta, nil if it is empty, or what is wrong with it.
func CheckMetadata(meta map[string]string) (map[string]string, error) {
	if len(meta) == 0 {
		return nil, nil
	}
	if len(meta) > MaxMetadataKeys {
		return nil, FieldErrorf("metadata", "A file can have at most %d metadata entries.", MaxMetadataKeys)
	}
	for k, v := range meta {
		if !metadataKey.MatchString(k) {
			return nil, FieldErrorf("metadata", "A metadata key has 1 to 64 characters of a-z, 0-9, dot, dash and underscore.")
		}
		if len(v) > MaxMetadataValue || !plainText(v) {
			return nil, FieldErrorf("metadata."+k, "A metadata value is text of at most %d bytes without control characters.", MaxMetadataValue)
		}
	}
	return meta, nil
}

// checkTags returns the tags sorted and without repetitions.
func checkTags(tags []string) ([]string, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	tags = slices.Clone(tags)
	slices.Sort(tags)
	tags = slices.Compact(tags)
	if len(tags) > MaxTags {
		return nil, FieldErrorf("tags", "A file can have at most %d tags.", MaxTags)
	}
	for _, tag := range tags {
		if tag == "" || len(tag) > MaxTag || !plainText(tag) {
			return nil, FieldErrorf("tags", "A tag is text of 1 to %d bytes without control characters.", MaxTag)
		}
	}
	return tags, nil
}

// plainText allows line breaks and tabs, which people write in descriptions.
func plainText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' {
			return false
		}
	}
	return true
}

package handlers

import (
	"encoding/base64"
	"strings"

	"upload-service/store"
)

// maxTusMetadata bounds what an upload carries along, in bytes: it is written
// again with each piece.
const maxTusMetadata = 4 << 10

// parseTusMetadata reads Upload-Metadata: pairs of a key and a base64 value,
// separated by commas; keys are unique and a value may be missing. The header
// is given back as it came.
//
// The service knows filename (or name), relativePath of a file that was chosen
// with its folder, filetype (or type), purpose, and with persist=true folder:
// the upload becomes that file when it is complete.
func parseTusMetadata(header string) (b store.Begin, err error) {
	if len(header) > maxTusMetadata {
		return b, store.FieldErrorf("Upload-Metadata", "Upload-Metadata has at most %d bytes.", maxTusMetadata)
	}
	b = store.Begin{Label: header, Length: -1}
	values := map[string]string{}
	for pair := range strings.SplitSeq(header, ",") {
		key, encoded, _ := strings.Cut(strings.Trim(pair, " "), " ")
		if header == "" {
			break
		}
		value, err := base64.StdEncoding.Strict().DecodeString(encoded)
		_, twice := values[key]
		if err != nil || twice || key == "" || !isToken(key) {
			return b, store.FieldErrorf("Upload-Metadata",
				"Upload-Metadata is a list of pairs, separated by commas: a key, a space, the value in base64. No key comes twice.")
		}
		values[key] = string(value)
	}
	first := func(keys ...string) string {
		for _, key := range keys {
			if values[key] != "" {
				return values[key]
			}
		}
		return ""
	}
	if name := first("filename", "name"); name != "" {
		b.Name = store.CleanName(name, "")
	}
	b.Name = withFolders(values["relativePath"], b.Name)
	b.Type = first("filetype", "type")
	b.Purpose = values["purpose"]
	if values["persist"] == "true" {
		folder, err := store.ParseFolder(values["folder"])
		if err != nil {
			return b, err
		}
		b.Then = &store.Goal{Folder: folder, OnConflict: store.Replace}
	}
	return b, nil
}

// withFolders is a name with the folders of the relative path that a browser tells.
// Folders that cannot be are left out, like all of a name that only hints.
func withFolders(relative string, name store.Path) store.Path {
	p, err := store.ParsePath(relative)
	if err != nil || name == "" {
		return name
	}
	joined, err := name.Join(p.Dir())
	if err != nil {
		return name
	}
	return joined
}

// isToken reports whether a key is printable ASCII without spaces and commas.
func isToken(s string) bool {
	for _, r := range s {
		if r <= ' ' || r > '~' || r == ',' {
			return false
		}
	}
	return true
}

// Package static holds the files that pages load. They are embedded, and
// their public names carry a hash of the content, so a browser may keep them
// for ever and an update still arrives at once.
package static

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"mime"
	"path"
	"strings"
)

//go:embed *.css
var files embed.FS

// Asset is one file.
type Asset struct {
	Name    string // with the hash, as in the URL
	Type    string // media type
	Content []byte
}

var byName, byPublicName = load()

func load() (named, public map[string]Asset) {
	named, public = map[string]Asset{}, map[string]Asset{}
	entries, _ := files.ReadDir(".") // reading what is embedded cannot fail
	for _, e := range entries {
		content, _ := files.ReadFile(e.Name())
		sum := sha256.Sum256(content)
		ext := path.Ext(e.Name())
		a := Asset{
			Name: strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext,
			Type: mime.TypeByExtension(ext), Content: content,
		}
		named[e.Name()], public[a.Name] = a, a
	}
	return named, public
}

// URL is the address of a file by its plain name. Templates are parsed at
// start, so a name that does not exist fails every test and no request.
func URL(name string) (string, error) {
	a, ok := byName[name]
	if !ok {
		return "", fmt.Errorf("static file %s does not exist", name)
	}
	return "/static/" + a.Name, nil
}

// Get returns a file by its name in the URL.
func Get(public string) (Asset, bool) {
	a, ok := byPublicName[public]
	return a, ok
}

// Package static holds what pages load. build.mjs bundles it from src into
// dist, which is embedded. The public names carry a hash of the content, so a
// browser may keep a file for ever and an update still arrives at once.
package static

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// The folder is empty in a fresh checkout, but for a file that keeps it there.
//
//go:embed all:dist
var dist embed.FS

// Asset is one file, as it is and compressed.
type Asset struct {
	Name   string // with the hash, as in the URL
	Type   string // media type
	Plain  []byte
	Gzip   []byte
	Brotli []byte
}

// Assets are all files of a build.
type Assets struct {
	public map[string]string // plain name -> name with the hash
	byName map[string]Asset  // name with the hash
}

// ErrNotBuilt says that this binary was compiled before the bundles were.
var ErrNotBuilt = errors.New(`the style sheet and the scripts are not in this binary; build it with "make build"`)

// types are the media types: a system's own table may have others.
var types = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".txt": "text/plain; charset=utf-8",
}

// Load reads what is embedded. Errors: ErrNotBuilt.
func Load() (*Assets, error) {
	text, err := dist.ReadFile("dist/manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBuilt
	}
	a := &Assets{byName: map[string]Asset{}}
	if err := errors.Join(err, json.Unmarshal(text, &a.public)); err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	for _, name := range a.public {
		asset := Asset{Name: name, Type: types[path.Ext(name)]}
		for suffix, content := range map[string]*[]byte{"": &asset.Plain, ".gz": &asset.Gzip, ".br": &asset.Brotli} {
			if *content, err = dist.ReadFile("dist/" + name + suffix); err != nil {
				return nil, fmt.Errorf("read a static file: %w", err)
			}
		}
		a.byName[name] = asset
	}
	return a, nil
}

// Path is the address of a file by its plain name, below /static/.
func (a *Assets) Path(name string) (string, error) {
	public, ok := a.public[name]
	if !ok {
		return "", fmt.Errorf("static file %s does not exist", name)
	}
	return public, nil
}

// Get returns a file by its name in the URL.
func (a *Assets) Get(public string) (Asset, bool) {
	asset, ok := a.byName[public]
	return asset, ok
}

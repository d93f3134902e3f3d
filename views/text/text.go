// Package text holds every English text of the pages, a file for each page.
// The texts that scripts show are in script.json, which their bundle imports.
package text

import (
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

//go:embed *.json
var files embed.FS

// texts maps "page.key" to a text, with verbs of package fmt.
var texts = load()

func load() map[string]string {
	all := map[string]string{}
	entries, _ := files.ReadDir(".") // reading what is embedded cannot fail
	for _, e := range entries {
		content, _ := files.ReadFile(e.Name())
		var page map[string]string
		if err := json.Unmarshal(content, &page); err != nil {
			panic(fmt.Sprintf("views/text/%s: %v", e.Name(), err)) // at start, whatever is asked
		}
		for key, text := range page {
			all[strings.TrimSuffix(e.Name(), path.Ext(e.Name()))+"."+key] = text
		}
	}
	return all
}

// Get returns a text. A key that ends in ".n" is a number's: its first
// argument chooses between the keys with .one and .other in place of .n.
// A key that does not exist is a mistake that a test finds; it shows itself.
func Get(key string, args ...any) string {
	if stem, counted := strings.CutSuffix(key, ".n"); counted {
		key = stem + ".other"
		if len(args) > 0 && fmt.Sprint(args[0]) == "1" {
			key = stem + ".one"
		}
	}
	format, ok := texts[key]
	if !ok {
		return key
	}
	if len(args) == 0 {
		return format
	}
	return english.Sprintf(format, args...)
}

// english writes large numbers in groups: 1,000,000.
var english = message.NewPrinter(language.English)

package views

import (
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/pb33f/go-yaml"

	"upload-service/views/text"
)

// Reference is the page of every operation, as the OpenAPI document has it.
type Reference struct {
	Shell
	*API
	Address string // scheme and host, as the browser reached us
}

// Page renders the page.
func (v Reference) Page(w io.Writer) error { return execute(w, "reference.html", v) }

// API is an OpenAPI document, as far as the page shows it.
type API struct {
	Info  struct{ Description string }
	Tags  []Tag
	Paths members[members[*Operation]]

	Components struct {
		Parameters    map[string]Parameter
		RequestBodies map[string]Body   `yaml:"requestBodies"`
		Responses     map[string]Answer // by name
		Schemas       members[Schema]
	}
}

// Tag is a group of operations.
type Tag struct {
	Name, Description string
	Operations        []*Operation `yaml:"-"`
}

// Operation is one method of one path.
type Operation struct {
	Method, Path         string `yaml:"-"`
	ID                   string `yaml:"operationId"`
	Tags                 []string
	Summary, Description string
	Security             []map[string][]string
	Parameters           []Parameter
	Body                 Body            `yaml:"requestBody"`
	Answers              members[Answer] `yaml:"responses"`
}

// Parameter is one of the path, the query or the header.
type Parameter struct {
	Ref                   string `yaml:"$ref"`
	Name, In, Description string
	Required              bool
	Schema                Schema
	Example               any // then it is part of the command, too
}

func (p Parameter) shown() bool { return p.Required || p.Example != nil }

// Body is what a request may carry.
type Body struct {
	Ref         string `yaml:"$ref"`
	Description string
	Required    bool
	Content     members[media]
}

// Answer is what an operation answers with one status.
type Answer struct {
	Ref         string `yaml:"$ref"`
	Description string
	Headers     members[struct{}]
	Content     members[media]
}

type media struct {
	Schema  Schema
	Example any
}

// Schema is what a value looks like.
type Schema struct {
	Ref                 string `yaml:"$ref"`
	Type                any    // a name, or several
	Format, Description string
	Const, Default      any
	Enum, Examples      []any
	Items               *Schema
	AllOf               []Schema `yaml:"allOf"`
	Required            []string
	Properties          members[Schema]
}

// members are those of an object in the order of the document.
type members[T any] []member[T]

type member[T any] struct {
	Name  string
	Value T
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *members[T]) UnmarshalYAML(n *yaml.Node) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		var value T
		if err := n.Content[i+1].Decode(&value); err != nil {
			return err
		}
		*m = append(*m, member[T]{n.Content[i].Value, value})
	}
	return nil
}

func (m members[T]) get(name string) (value T, ok bool) {
	for _, e := range m {
		if e.Name == name {
			return e.Value, true
		}
	}
	return value, false
}

// ParseAPI reads an OpenAPI document and puts in what it refers to. What the
// page could not show is an error: an operation without a tag that there is,
// and a reference to nothing.
func ParseAPI(document []byte) (*API, error) {
	a := &API{}
	if err := yaml.Unmarshal(document, a); err != nil {
		return nil, err
	}
	var missing []string
	all := a.Components
	for _, path := range a.Paths {
		for _, m := range path.Value {
			o := m.Value
			o.Method, o.Path = strings.ToUpper(m.Name), path.Name
			for i, p := range o.Parameters {
				o.Parameters[i] = resolve(p, p.Ref, all.Parameters, &missing)
			}
			o.Body = resolve(o.Body, o.Body.Ref, all.RequestBodies, &missing)
			for i, r := range o.Answers {
				o.Answers[i].Value = resolve(r.Value, r.Value.Ref, all.Responses, &missing)
			}
			for i, c := range o.Body.Content {
				if s, ok := all.Schemas.get(c.Value.Schema.Name()); ok && len(s.Examples) > 0 {
					o.Body.Content[i].Value.Example = s.Examples[0]
				}
			}
			at := slices.IndexFunc(a.Tags, func(t Tag) bool { return slices.Contains(o.Tags, t.Name) })
			if at < 0 {
				return nil, fmt.Errorf("%s %s has no tag that there is", o.Method, o.Path)
			}
			a.Tags[at].Operations = append(a.Tags[at].Operations, o)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("there is no %s", strings.Join(missing, ", "))
	}
	return a, nil
}

// resolve is what stands in the document, or what it refers to.
func resolve[T any](own T, ref string, all map[string]T, missing *[]string) T {
	if ref == "" {
		return own
	}
	other, ok := all[ref[strings.LastIndexByte(ref, '/')+1:]]
	if !ok {
		*missing = append(*missing, ref)
	}
	return other
}

// Access says what credential an operation asks for.
func (o Operation) Access() string {
	switch {
	case len(o.Security) == 0:
		return text.Get("docs.access.none")
	case len(o.Security[0]) == 0:
		return text.Get("docs.access.optional")
	case len(o.Security[0]["bearer"]) == 0:
		return text.Get("docs.access.any")
	}
	return text.Get("docs.access.scope", o.Security[0]["bearer"][0])
}

// Name is that of the schema that is referred to, "" of any other.
func (s Schema) Name() string {
	_, name, _ := strings.Cut(s.Ref, "#/components/schemas/")
	return name
}

// Kind is the type in a word or a few.
func (s Schema) Kind() string {
	var words []string
	switch {
	case s.Const != nil:
		return fmt.Sprint(s.Const)
	case len(s.Enum) > 0:
		for _, e := range s.Enum {
			words = append(words, fmt.Sprint(e))
		}
		return strings.Join(words, ", ")
	}
	switch of := s.Type.(type) {
	case string:
		words = append(words, of)
	case []any:
		for _, e := range of {
			words = append(words, fmt.Sprint(e))
		}
	}
	kind := strings.Join(words, " | ")
	if s.Format != "" {
		kind += " (" + s.Format + ")"
	}
	return kind
}

// Needs reports whether a member has to be there.
func (s Schema) Needs(member string) bool { return slices.Contains(s.Required, member) }

// Example is a value in JSON, "" if there is none.
func (s Schema) Example() string {
	if len(s.Examples) == 0 {
		return ""
	}
	b, err := json.MarshalIndent(s.Examples[0], "", "  ")
	if err != nil {
		return ""
	}
	return string(b)
}

// Codes are the codes of the problems that an answer may have.
func (s Schema) Codes() []any {
	for _, part := range s.AllOf {
		if code, ok := part.Properties.get("code"); ok && code.Const != nil {
			return []any{code.Const}
		} else if ok {
			return code.Enum
		}
	}
	return nil
}

// sample is a value to try, or a variable for it.
func (p Parameter) sample() string {
	for _, values := range [][]any{{p.Example}, {p.Schema.Const}, p.Schema.Examples, p.Schema.Enum} {
		if len(values) > 0 && values[0] != nil {
			return fmt.Sprint(values[0])
		}
	}
	return "$" + strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_"))
}

// Curl is the operation as a command, with little more than it has to have.
func (o Operation) Curl(address string) string {
	var lines []string
	if o.Access() != text.Get("docs.access.none") {
		lines = append(lines, `-H "Authorization: Bearer $UPLOAD_KEY"`)
	}
	at, query := o.Path, "?"
	for _, p := range o.Parameters {
		switch {
		case p.In == "path":
			at = strings.ReplaceAll(at, "{"+p.Name+"}", p.sample())
		case p.In == "query" && p.shown():
			at += query + p.Name + "=" + p.sample()
			query = "&"
		case p.In == "header" && p.shown():
			lines = append(lines, fmt.Sprintf(`-H "%s: %s"`, p.Name, p.sample()))
		}
	}
	data, implied := o.data()
	command := "curl"
	switch {
	case o.Method == "HEAD":
		command += " -I"
	case o.Method != implied:
		command += " -X " + o.Method
	}
	lines = append([]string{command}, append(append(lines, data...), `"`+address+at+`"`)...)
	return strings.Join(lines, " \\\n  ")
}

// data is the body as curl takes it, and the method that it then means.
func (o Operation) data() (lines []string, method string) {
	content := o.Body.Content
	if json, ok := content.get("application/json"); ok {
		return []string{"--json '" + json.sample() + "'"}, "POST"
	}
	if form, ok := content.get("application/x-www-form-urlencoded"); ok {
		for _, field := range form.Schema.Properties {
			name := field.Name
			lines = append(lines, fmt.Sprintf(`-d "%s=$%s"`, name, strings.ToUpper(name)))
		}
		if len(lines) > 0 {
			return lines, "POST"
		}
		return nil, "GET"
	}
	if _, ok := content.get("*/*"); ok && o.Method == "PUT" {
		return []string{"-T FILE"}, "PUT"
	}
	for _, c := range content {
		switch c.Name {
		case "multipart/form-data":
			return []string{`-F "file=@FILE"`}, "POST"
		case "*/*":
			return []string{"--data-binary @FILE"}, "POST"
		default:
			return []string{fmt.Sprintf(`-H "Content-Type: %s"`, c.Name), "--data-binary @FILE"}, "POST"
		}
	}
	return nil, "GET"
}

// sample is an example in JSON.
func (m media) sample() string {
	if m.Example == nil {
		return "{}"
	}
	b, err := json.Marshal(m.Example)
	if err != nil {
		return "{}" // a map whose keys are not text
	}
	return string(b)
}

var ticked = regexp.MustCompile("`([^`]+)`")

// ticks writes a description: what stands between backticks is code.
func ticks(s string) template.HTML {
	return template.HTML(ticked.ReplaceAllString(template.HTMLEscapeString(s), "<code>$1</code>"))
}

// paragraphs are those of a description.
func paragraphs(s string) []string { return strings.Split(strings.TrimSpace(s), "\n\n") }

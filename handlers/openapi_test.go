package handlers_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/go-yaml"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/paths"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
	"github.com/pb33f/libopenapi/orderedmap"
)

// contract is openapi.yaml. Every test of this package is a replay of it: each
// answer has to be documented, and each request that was accepted has to be
// one that the document allows (see world.as). TestMain asks that all which is
// documented was seen.
type contract struct {
	model *v3.Document
	// All of them are safe for use by several goroutines. strict refuses header fields and members that are not documented. Of an
	// answer to HEAD, head looks at the header fields only.
	lenient, strict, head validator.Validator
	seen                  sync.Map // "GET /path 200"
}

// everyAnswer are header fields that are documented once for all answers.
var everyAnswer = []string{
	"X-Request-Id", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Security-Policy",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Headers", "Access-Control-Max-Age", "Vary", "HX-Retarget", "HX-Trigger", "HX-Push-Url", "Content-Encoding", "Content-Length", "Date", "Connection",
}

var openAPI = sync.OnceValues(func() (*contract, error) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	m, err := doc.BuildV3Model()
	if err != nil {
		return nil, err
	}
	lenient, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	extra := []config.Option{config.WithStrictMode(), config.WithStrictIgnoredHeadersExtra(everyAnswer...)}
	return &contract{
		model:   &m.Model,
		lenient: lenient,
		strict:  validator.NewValidatorFromV3Model(&m.Model, extra...),
		head:    validator.NewValidatorFromV3Model(&m.Model, append(extra, config.WithoutResponseBodyValidation())...),
	}, nil
})

func documented(t testing.TB) *contract {
	t.Helper()
	c, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// anyRequest may be refused with these, whatever it asks for: response
// "default".
var anyRequest = []int{401, 403, 408, 413, 423, 429, 431, 500, 503, 507}

// check holds a request and its answer against the document.
func (c *contract) check(t testing.TB, sent *http.Request, res *http.Response, body []byte) {
	t.Helper()
	if res.StatusCode == 404 && sent.Host != "" && sent.Host != sent.URL.Host {
		return // on the host of contents nothing else is there
	}
	if res.StatusCode == 308 && strings.HasSuffix(sent.URL.Path, "/") {
		return // documented once for all pages
	}
	// 1. Which operation is it? A path parameter cannot hold slashes for the
	// library, so those of a file's path are escaped.
	req := sent.Clone(sent.Context())
	req.Body = http.NoBody
	// The document can name a cookie only once.
	if sent := req.Header.Get("Cookie"); sent != "" {
		req.Header.Set("Cookie", strings.ReplaceAll(sent, "__Host-", ""))
	}
	top := "/files/"
	rest, ok := strings.CutPrefix(req.URL.EscapedPath(), top)
	if !ok {
		top = "/zip/"
		rest, ok = strings.CutPrefix(req.URL.EscapedPath(), top)
	}
	if ok {
		slug, path, below := strings.Cut(rest, "/")
		if below {
			req.URL.RawPath = top + slug + "/" + strings.ReplaceAll(path, "/", "%2F")
			if path == "" {
				req.URL.RawPath += "%2F"
			}
			req.URL.Path = strings.ReplaceAll(req.URL.RawPath, "%2F", "_")
			req.URL.RawPath = ""
		}
	}
	item, path := c.find(req)
	validate := c.strict
	if item == nil || operation(item, req.Method) == nil {
		if req.Method != http.MethodHead {
			if res.StatusCode != 404 && res.StatusCode != 405 && req.Method != http.MethodOptions {
				t.Errorf("%s %s: answered %d and not documented", req.Method, req.URL.Path, res.StatusCode)
			}
			return
		}
		req.Method = http.MethodGet
		if item, path = c.find(req); item == nil || item.Get == nil {
			return
		}
	}
	if sent.Method == http.MethodHead || res.StatusCode == 201 && len(body) == 0 {
		validate = c.head
	}
	op := operation(item, req.Method)

	// 2. The answer.
	status := fmt.Sprint(res.StatusCode)
	if _, ok := op.Responses.Codes.Get(status); !ok {
		if !slices.Contains(anyRequest, res.StatusCode) {
			t.Errorf("%s %s: the status %s is not documented: %s", sent.Method, path, status, body)
			return
		}
	} else if sent.Method == req.Method {
		c.seen.Store(req.Method+" "+path+" "+status, true)
	}
	answer := *res
	answer.Body = io.NopCloser(bytes.NewReader(body))
	if _, errs := validate.GetResponseBodyValidator().
		ValidateResponseBodyWithPathItem(req, &answer, item, path); len(errs) > 0 {
		t.Errorf("%s %s %s: the answer is not as documented: %s\n%v %s",
			sent.Method, path, status, explain(errs), res.Header, body)
	}

	// 3. The request, if it was taken.
	if res.StatusCode >= 400 || sent.Body != nil && sent.Body != http.NoBody && sent.GetBody == nil {
		return
	}
	if body := op.RequestBody; body == nil || sent.ContentLength == 0 && (body.Required == nil || !*body.Required) {
		req.Header.Del("Content-Type") // of nothing
	} else {
		if sent.GetBody != nil {
			req.Body, _ = sent.GetBody()
		}
		kind, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
		_, named := body.Content.Get(kind)
		_, anything := body.Content.Get("*/*")
		switch {
		case !named && anything: // bytes, whatever they are called
			req.Header.Set("Content-Type", "application/octet-stream")
		case kind == "":
			req.Header.Set("Content-Type", body.Content.First().Key())
		}
	}
	if _, errs := c.lenient.ValidateHttpRequestSyncWithPathItem(req, item, path); len(errs) > 0 {
		t.Errorf("%s %s %s: the request was taken and is not as documented: %s", sent.Method, path, status, explain(errs))
	}
}

// find is the path that a request is for: for the library, "/tus/" is an empty
// token.
func (c *contract) find(req *http.Request) (*v3.PathItem, string) {
	if item, ok := c.model.Paths.PathItems.Get(req.URL.Path); ok {
		return item, req.URL.Path
	}
	item, _, path := paths.FindPath(req, c.model, &config.ValidationOptions{})
	return item, path
}

func operation(item *v3.PathItem, method string) *v3.Operation {
	op, _ := item.GetOperations().Get(strings.ToLower(method))
	return op
}

// wantScope asks that the document says which scope an operation needs: "any"
// for a credential with any, "" for none.
func (c *contract) wantScope(t testing.TB, method, path, scope string) {
	t.Helper()
	item, _ := c.model.Paths.PathItems.Get(path)
	if item == nil || operation(item, method) == nil {
		if method != http.MethodHead { // of a GET
			t.Errorf("%s %s is not documented", method, path)
		}
		return
	}
	documented := ""
	for _, requirement := range operation(item, method).Security {
		if scopes, ok := requirement.Requirements.Get("bearer"); ok {
			documented = strings.Join(append(scopes, "any")[:1], "")
		}
	}
	for _, requirement := range operation(item, method).Security {
		if requirement.ContainsEmptyRequirement { // a credential is welcome
			documented = ""
		}
	}
	if documented != scope {
		t.Errorf("%s %s needs the scope %q, and the document says %q", method, path, scope, documented)
	}
}

func explain(errs []*errors.ValidationError) string {
	var b strings.Builder
	for _, e := range errs {
		fmt.Fprintf(&b, "\n  %s: %s", e.Message, e.Reason)
		for _, s := range e.SchemaValidationErrors {
			fmt.Fprintf(&b, " (%s %s)", s.Reason, s.FieldPath)
		}
	}
	return b.String()
}

// TestMain asks at the end of a whole run that every documented answer was seen.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	whole := true
	for _, part := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		whole = whole && flag.Lookup(part).Value.String() == ""
	}
	if c, err := openAPI(); code == 0 && err == nil && whole {
		for _, answer := range c.missing() {
			fmt.Printf("documented and never answered: %s\n", answer)
			code = 1
		}
	}
	os.Exit(code)
}

func (c *contract) missing() (list []string) {
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			for status := range op.Responses.Codes.FromOldest() {
				answer := strings.ToUpper(method) + " " + path + " " + status
				if _, seen := c.seen.Load(answer); !seen {
					list = append(list, answer)
				}
			}
		}
	}
	slices.Sort(list)
	return list
}

var routeParameter = regexp.MustCompile(`:(\w+)`)

// template is the path of a route as the document writes it.
func template(route string) string {
	return strings.Replace(routeParameter.ReplaceAllString(route, "{$1}"), "*", "{path}", 1)
}

// TestDocumentedRoutes: what is served is documented, and the other way round.
func TestDocumentedRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.want(200, "anonymous", "GET", "/openapi.yaml", nil)
	if text, err := os.ReadFile("openapi.yaml"); err != nil || a.body != string(text) {
		t.Errorf("the document that is served is another one (%v)", err)
	}
	written := map[string]bool{}
	for path, item := range documented(t).model.Paths.PathItems.FromOldest() {
		for method := range item.GetOperations().FromOldest() {
			written[strings.ToUpper(method)+" "+path] = true
		}
	}
	served := map[string]bool{}
	for _, r := range w.app.GetRoutes(true) {
		served[r.Method+" "+template(r.Path)] = true
	}
	for op := range served {
		get, head := strings.CutPrefix(op, http.MethodHead)
		if !written[op] && !(head && written[http.MethodGet+get]) { // a GET answers HEAD
			t.Errorf("%s is served and not documented: add it to openapi.yaml", op)
		}
	}
	for op := range written {
		if !served[op] {
			t.Errorf("%s is documented and not served", op)
		}
	}
}

// TestReference looks for every operation on the page, and follows its links.
func TestReference(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	page := w.want(200, "anonymous", "GET", "/docs/api", nil).body
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("%s is there twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] && !strings.HasPrefix(m[1], "i-") {
			t.Errorf("#%s leads nowhere", m[1])
		}
	}
	for pair := range orderedmap.Iterate(t.Context(), documented(t).model.Paths.PathItems) {
		for o := range orderedmap.Iterate(t.Context(), pair.Value().GetOperations()) {
			id := o.Value().OperationId
			if op := between(page, `<h3 id="`+id+`"`, "</section>"); !strings.Contains(op, "curl") || !strings.Contains(op, pair.Key()) {
				t.Errorf("%s is not shown: %s", id, op)
			}
		}
	}
	for id, want := range map[string][]string{
		"putFile":       {"-T FILE", "&#34;" + w.url + "/files/me/docs/README.md&#34;", "Needs the scope write.", "<code>me</code>", "201"},
		"changeFile":    {"--json &#39;{", "-X PATCH", `href="#s-File"`, `href="/docs/errors#not_found"`},
		"tusCreate":     {"Upload-Length: 5", "Tus-Resumable: 1.0.0"},
		"homePage":      {"With a credential or without."},
		"healthz":       {"Needs no credential."},
		"listKeys":      {"Needs any credential.", `href="#s-Key"`},
		"persistOne":    {`href="#s-Persist"`},
		"filepondChunk": {"?patch=$PATCH"},
	} {
		op := between(page, `<h3 id="`+id+`"`, "</section>")
		for _, want := range want {
			if !strings.Contains(op, want) {
				t.Errorf("%s has no %s: %s", id, want, op)
			}
		}
	}
}

// TestDocument checks the document itself: that it is OpenAPI 3.1, that its
// examples are what they are examples of, and that it knows every code.
func TestDocument(t *testing.T) {
	t.Parallel()
	c := documented(t)
	if ok, errs := c.lenient.ValidateDocument(); !ok {
		t.Errorf("no OpenAPI 3.1: %s", explain(errs))
	}
	examples := map[string]int{}
	valid := func(kind, name string, proxy *base.SchemaProxy, nodes ...*yaml.Node) {
		for _, node := range nodes {
			if node == nil {
				continue
			}
			examples[kind]++
			var example any
			if err := node.Decode(&example); err != nil {
				t.Fatal(err)
			}
			if proxy == nil {
				t.Errorf("the %s %s has an example and no schema", kind, name)
			} else if ok, errs := schema_validation.NewSchemaValidator().ValidateSchemaObject(proxy.Schema(), example); !ok {
				t.Errorf("the example of the %s %s is none: %s", kind, name, explain(errs))
			}
		}
	}
	named := func(list *orderedmap.Map[string, *base.Example]) (nodes []*yaml.Node) {
		for _, example := range list.FromOldest() {
			nodes = append(nodes, example.Value)
		}
		return nodes
	}
	content := func(kind, name string, media *orderedmap.Map[string, *v3.MediaType]) {
		for of, m := range media.FromOldest() {
			valid(kind, name+" as "+of, m.Schema, append(named(m.Examples), m.Example)...)
		}
	}
	parameters := func(name string, list []*v3.Parameter) {
		for _, p := range list {
			if p.Schema != nil {
				valid("parameter", name+" "+p.Name, p.Schema, p.Schema.Schema().Examples...)
			}
			valid("parameter", name+" "+p.Name, p.Schema, append(named(p.Examples), p.Example)...)
			content("parameter", name+" "+p.Name, p.Content)
		}
	}
	answers := func(name string, list *orderedmap.Map[string, *v3.Response]) {
		for status, r := range list.FromOldest() {
			content("answer", name+" "+status, r.Content)
			for field, h := range r.Headers.FromOldest() {
				valid("header field", name+" "+field, h.Schema, append(named(h.Examples), h.Example)...)
			}
		}
	}
	for name, proxy := range c.model.Components.Schemas.FromOldest() {
		valid("schema", name, proxy, append(proxy.Schema().Examples, proxy.Schema().Example)...)
	}
	for name, p := range c.model.Components.Parameters.FromOldest() {
		parameters(name, []*v3.Parameter{p})
	}
	for name, h := range c.model.Components.Headers.FromOldest() {
		valid("header field", name, h.Schema, append(named(h.Examples), h.Example)...)
	}
	for name, r := range c.model.Components.RequestBodies.FromOldest() {
		content("body", name, r.Content)
	}
	answers("component", c.model.Components.Responses)
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		parameters(path, item.Parameters)
		for method, op := range item.GetOperations().FromOldest() {
			name := method + " " + path
			parameters(name, op.Parameters)
			if op.RequestBody != nil {
				content("body", name, op.RequestBody.Content)
			}
			answers(name, op.Responses.Codes)
		}
	}
	if examples["schema"] < 10 || examples["body"] < 1 || examples["parameter"] < 3 {
		t.Errorf("only these examples: %v", examples)
	}

	var written, known []string
	code, _ := c.model.Components.Schemas.Get("Code")
	for _, node := range code.Schema().Enum {
		written = append(written, node.Value)
	}
	page := newWorld(t, setup{}).want(200, "anonymous", "GET", "/docs/errors", nil)
	for _, m := range regexp.MustCompile(`<dt id="(\w+)"`).FindAllStringSubmatch(page.body, -1) {
		known = append(known, m[1])
	}
	slices.Sort(written)
	slices.Sort(known)
	if !slices.Equal(written, known) {
		t.Errorf("the document has the codes %v, the service %v", written, known)
	}
}

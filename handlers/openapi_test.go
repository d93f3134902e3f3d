package handlers_test

import (
	"bytes"
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

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/paths"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// contract is openapi.yaml. Every test of this package is a replay of it: each
// answer has to be documented, and each request that was accepted has to be
// one that the document allows (see world.as).
type contract struct {
	model *v3.Document
	// strict refuses header fields and members that are not documented. Of an
	// answer to HEAD, head looks at the header fields only.
	lenient, strict, head validator.Validator
}

// everyAnswer are header fields that are documented once for all answers.
var everyAnswer = []string{
	"X-Request-Id", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Security-Policy",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Headers", "Access-Control-Max-Age", "Vary", "Content-Length", "Date", "Connection",
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
	extra := []config.Option{config.WithStrictMode(), config.WithStrictIgnoredHeadersExtra(everyAnswer...)}
	return &contract{
		model:   &m.Model,
		lenient: validator.NewValidatorFromV3Model(&m.Model),
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
var anyRequest = []int{401, 403, 408, 413, 429, 431, 500, 503, 507}

// check holds a request and its answer against the document.
func (c *contract) check(t testing.TB, sent *http.Request, res *http.Response, body []byte) {
	t.Helper()
	// 1. Which operation is it? A path parameter cannot hold slashes for the
	// library, so those of a file's path are escaped.
	req := sent.Clone(sent.Context())
	req.Body = http.NoBody
	if rest, ok := strings.CutPrefix(req.URL.EscapedPath(), "/files/"); ok {
		slug, path, below := strings.Cut(rest, "/")
		if below {
			req.URL.RawPath = "/files/" + slug + "/" + strings.ReplaceAll(path, "/", "%2F")
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

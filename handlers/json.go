package handlers

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/url"

	"github.com/gofiber/fiber/v2"

	"upload-service/handlers/transport"
	"upload-service/store"
)

// readSmall reads a body that admit has bounded.
func readSmall(c *fiber.Ctx) ([]byte, error) {
	body := transport.Body(c)
	if body == nil {
		return nil, nil
	}
	return io.ReadAll(body)
}

// readJSON reads a JSON document into v. An absent body leaves v as it is.
// A member that v does not have is an error: it is most likely a typing
// mistake, and to ignore it would do something else than was asked.
func readJSON(c *fiber.Ctx, v any) error {
	body := transport.Body(c)
	if body == nil {
		return nil
	}
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == io.EOF {
		return nil
	}
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return nil
		}
		err = errors.Join(errors.New("something follows the document"), err)
	}
	var e *store.Error
	if errors.As(err, &e) {
		return err
	}
	return store.Errorf(store.CodeInvalid, "The body is not the JSON document that this address expects: %s.", jsonHint(err)).WithCause(err)
}

// jsonHint is what a client may see of a JSON error: nothing of its values.
func jsonHint(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return "wrong type of " + wrong.Field
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return syntax.Error()
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends early"
	}
	return "unknown or wrong member"
}

// readFormValues reads an urlencoded form.
func readFormValues(c *fiber.Ctx) (url.Values, error) {
	b, err := readSmall(c)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(b))
	if err != nil {
		return nil, store.Errorf(store.CodeInvalid, "The form is malformed.").WithCause(err)
	}
	return values, nil
}

// mediaTypeOf is the base of the request's Content-Type.
func mediaTypeOf(c *fiber.Ctx) string {
	kind, _, _ := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	return kind
}

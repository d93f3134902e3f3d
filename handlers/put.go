package handlers

import (
	"context"
	"strings"

	"github.com/dunglas/httpsfv"
	"github.com/gofiber/fiber/v2"

	"upload-service/handlers/transport"
	"upload-service/store"
)

// put is what the head of a PUT of a file says.
type put struct {
	path     store.Path
	size     int64
	cond     store.Condition
	metadata map[string]string
	content  store.Content
}

// parsePut reads the head of a PUT.
func parsePut(c *fiber.Ctx) (p put, err error) {
	if err := plainBody(c); err != nil {
		return put{}, err
	}
	if p.path, err = filePath(c); err != nil {
		return put{}, err
	}
	if p.cond, err = condition(c); err != nil {
		return put{}, err
	}
	if p.content, err = declared(c); err != nil {
		return put{}, err
	}
	p.content.Name = p.path
	if p.metadata, err = store.CheckMetadata(metadataHeaders(c)); err != nil {
		return put{}, err
	}
	p.size = transport.AnyBody(c).Length()
	return p, nil
}

// declared is what the headers say about a raw content.
func declared(c *fiber.Ctx) (store.Content, error) {
	content := store.Content{Type: c.Get(fiber.HeaderContentType)}
	// Repr-Digest is about the whole representation and Content-Digest about
	// this message's content (RFC 9530); in a whole upload they are the same.
	headers := []string{"Content-Digest", "Repr-Digest"}
	if r, ok := parseResumable(c); ok && !r.complete {
		headers = headers[1:] // the content is a piece
	}
	for _, header := range headers {
		if err := readDigest(lines(c, header), header, &content); err != nil {
			return store.Content{}, err
		}
	}
	return content, nil
}

// readDigest takes sha-256 and sha-512 from a digest header. Algorithms that
// it does not know and fields that do not parse are ignored, as RFC 9530 and
// RFC 9651 ask; a digest of the wrong length cannot match.
func readDigest(values []string, header string, content *store.Content) error {
	dict, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return nil
	}
	for name, target := range map[string]*[]byte{"sha-256": &content.SHA256, "sha-512": &content.SHA512} {
		member, ok := dict.Get(name)
		if !ok {
			continue
		}
		item, ok := member.(httpsfv.Item)
		sum, isBytes := item.Value.([]byte)
		if !ok || !isBytes {
			return store.FieldErrorf(header, "Write the digest as %s=:<base64>:.", name)
		}
		if *target != nil && string(*target) != string(sum) {
			return store.Errorf(store.CodeBadDigest, "Content-Digest and Repr-Digest differ.")
		}
		*target = sum
	}
	return nil
}

// wantsSHA256 reads Want-Repr-Digest, of which this is the algorithm that every
// content has: a preference from 1 to 10, and 0 for none (RFC 9530, 4).
func wantsSHA256(values []string) bool {
	dict, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return false
	}
	member, _ := dict.Get("sha-256")
	item, _ := member.(httpsfv.Item)
	preference, _ := item.Value.(int64)
	return preference > 0
}

// metadataHeaders collects X-Meta-<key>.
func metadataHeaders(c *fiber.Ctx) map[string]string {
	const prefix = "x-meta-"
	meta := map[string]string{}
	for k, v := range c.Request().Header.All() {
		if name := strings.ToLower(string(k)); strings.HasPrefix(name, prefix) {
			meta[name[len(prefix):]] = string(v)
		}
	}
	return meta
}

// checkPut runs before the body of a PUT: everything that its head can tell.
func (s *Server) checkPut(c *fiber.Ctx) error {
	slug, err := pathSlug(c)
	if err != nil {
		return err
	}
	owner, err := s.subject(c, slug)
	if err != nil {
		return err
	}
	if err := bodyOrPieces(c); err != nil {
		return err
	}
	p, err := parsePut(c)
	if err != nil {
		return err
	}
	if err := s.store.CheckPath(c.UserContext(), owner.ID, p.path, p.cond); err != nil {
		return err
	}
	size, err := announcedSize(c, p.size)
	if err != nil {
		return err
	}
	return s.admissible(c, store.Spec{Size: size, Path: p.path})
}

// putFile handles PUT /files/:slug/*: the body becomes the file.
func (s *Server) putFile(c *fiber.Ctx) error {
	p, err := parsePut(c)
	if err != nil {
		return err
	}
	if r, ok := resumes(c); ok {
		dir, name := p.path.Dir(), p.path.Base()
		return s.resumableCreate(c, r, store.Begin{Name: store.Path(name), Then: &store.Goal{
			Folder: dir, Metadata: p.metadata, OnConflict: store.Replace, Condition: p.cond,
		}})
	}
	if err := checkWhole(c); err != nil {
		return err
	}
	spec := store.Spec{Size: p.size, Path: p.path}
	return s.receive(c, spec, func(ctx context.Context, in *store.Intake) error {
		if _, err := in.Add(ctx, transport.Body(c), p.content); err != nil {
			return err
		}
		files, replaced, err := in.StoreFiles(ctx, store.Target{Metadata: p.metadata, Condition: p.cond})
		if err != nil {
			return err
		}
		reprDigest(c, files[0].SHA256)
		wasWhole(c)
		return s.putAnswer(c, files[0], replaced[0])
	})
}

// putAnswer shows the file that a PUT made.
func (s *Server) putAnswer(c *fiber.Ctx, f store.File, replaced bool) error {
	shape := s.fileShape(principal(c).Owner.Slug, f)
	c.Set(fiber.HeaderETag, shape.ETag)
	c.Set(fiber.HeaderLocation, shape.URL)
	if !replaced {
		c.Status(fiber.StatusCreated)
	}
	return c.JSON(shape)
}

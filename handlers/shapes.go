package handlers

import (
	"encoding/hex"
	"net/url"
	"strings"
	"time"

	"upload-service/store"
)

// The JSON shapes of the wire. Domain types are not serialised directly, so
// that the model can change without changing the API.

type fileJSON struct {
	ID          string            `json:"id"`
	Owner       string            `json:"owner"`
	Path        string            `json:"path"`
	Name        string            `json:"name"`
	Size        int64             `json:"size"`
	ContentType string            `json:"content_type"`
	SHA256      *string           `json:"sha256"` // null until known
	ETag        string            `json:"etag"`
	CreatedAt   time.Time         `json:"created_at"`
	UpdatedAt   time.Time         `json:"updated_at"`
	Metadata    map[string]string `json:"metadata"`
	Tags        []string          `json:"tags"`
	URL         string            `json:"url"`
}

// fileShape shows a file of the owner with a slug.
func (s *Server) fileShape(slug string, f store.File) fileJSON {
	j := fileJSON{
		ID: f.ID.String(), Owner: slug, Path: string(f.Path), Name: f.Path.Base(),
		Size: f.Size, ContentType: f.ContentType, ETag: f.ETag(),
		CreatedAt: f.CreatedAt.UTC(), UpdatedAt: f.UpdatedAt.UTC(),
		SHA256: hexSum(f.SHA256), Metadata: f.Metadata, Tags: f.Tags, URL: s.fileURL(slug, f.Path),
	}
	if j.Metadata == nil {
		j.Metadata = map[string]string{}
	}
	if j.Tags == nil {
		j.Tags = []string{}
	}
	return j
}

func (s *Server) fileShapes(slug string, files []store.File) []fileJSON {
	list := make([]fileJSON, len(files))
	for i, f := range files {
		list[i] = s.fileShape(slug, f)
	}
	return list
}

// hexSum is a digest as the wire shows it: null until it is known.
func hexSum(sum []byte) *string {
	if sum == nil {
		return nil
	}
	s := hex.EncodeToString(sum)
	return &s
}

// fileURL is path-absolute unless a public URL is configured.
func (s *Server) fileURL(slug string, p store.Path) string {
	return s.cfg.PublicURL + "/files/" + url.PathEscape(slug) + "/" + escapePath(string(p))
}

// escapePath escapes every segment and keeps the slashes.
func escapePath(p string) string {
	segments := strings.Split(p, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return strings.Join(segments, "/")
}

type uploadJSON struct {
	Token     store.Token      `json:"token"`
	State     store.State      `json:"state"`
	Purpose   string           `json:"purpose,omitempty"`
	ExpiresAt time.Time        `json:"expires_at"`
	Partial   bool             `json:"partial,omitempty"` // only good for a concatenation
	Files     []uploadFileJSON `json:"files"`
}

type uploadFileJSON struct {
	Name        string  `json:"name"`
	Size        int64   `json:"size"`
	Offset      int64   `json:"offset"`
	ContentType string  `json:"content_type"`
	SHA256      *string `json:"sha256"` // null until known
}

func uploadShape(u store.Upload) uploadJSON {
	j := uploadJSON{Token: u.Token, State: u.State, Purpose: u.Purpose, ExpiresAt: u.ExpiresAt.UTC(), Files: []uploadFileJSON{}}
	j.Partial = u.Growth != nil && u.Growth.Partial
	for _, p := range u.Parts {
		size := p.Size
		if u.State == store.Receiving {
			size = u.Growth.Length // -1 while it is not known
		}
		j.Files = append(j.Files, uploadFileJSON{
			string(p.Name), size, p.Size, p.ContentType, hexSum(p.SHA256),
		})
	}
	for _, f := range u.Files {
		j.Files = append(j.Files, uploadFileJSON{
			f.Path.Base(), f.Size, f.Size, f.ContentType, hexSum(f.SHA256),
		})
	}
	return j
}

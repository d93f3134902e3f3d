package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"upload-service/store/failpoint"
)

// Persist asks that uploads become files.
type Persist struct {
	Tokens     []Token           `json:"tokens"`
	Folder     string            `json:"folder"` // "" is the top of the tree
	Metadata   map[string]string `json:"metadata"`
	Tags       []string          `json:"tags"`
	OnConflict OnConflict        `json:"on_conflict"`
	Expect     Expect            `json:"expect"`
}

// Expect is what must be true of every upload; empty members ask nothing.
type Expect struct {
	SHA256  string `json:"sha256"` // hex; the upload then has one content
	Purpose string `json:"purpose"`
}

// MaxTokens is how many uploads one Persist may name.
const MaxTokens = 1000

// PersistUploads makes all of the uploads files in one transaction, or none.
// The bytes do not move. Repeated with the same request it returns the same
// files and repeated = true.
//
// Errors: not_found, gone (expired or deleted), conflict (not complete, an
// expectation failed, a path is taken or wanted twice, or already persisted by
// a different request), invalid.
func (s *Store) PersistUploads(ctx context.Context, o OwnerID, req Persist) (files []File, repeated bool, err error) {
	if err := req.normalize(); err != nil {
		return nil, false, err
	}
	fingerprint, err := req.fingerprint()
	if err != nil {
		return nil, false, err
	}
	now := s.now()

	// How many contents there are decides how many ids are needed; both are
	// fixed before the transaction. The contents of an upload that is ready
	// stay, but a digest that was not known may become so.
	var places [][]placement
	err = s.view(ctx, func(t txn) error {
		places = make([][]placement, len(req.Tokens))
		contents := 0
		for i, token := range req.Tokens {
			u, err := t.upload(o, token)
			if err != nil {
				return err
			}
			// One transaction holds up every other writer.
			if contents += len(u.Parts); contents > MaxParts {
				return FieldErrorf("tokens", "At most %d files can be made permanent at once; name fewer uploads.", MaxParts)
			}
			for _, part := range u.Parts {
				path, err := part.Name.Join(req.Folder)
				if err != nil {
					return err
				}
				p := newPlacement(part, path)
				p.meta, p.tags = req.Metadata, req.Tags
				places[i] = append(places[i], p)
			}
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}

	var marks []mark
	err = s.update(ctx, o, func(t txn) error {
		files, marks, repeated = nil, nil, false
		wanted := map[Path]bool{}
		for i, token := range req.Tokens {
			u, err := t.upload(o, token)
			if err != nil {
				return err
			}
			if err := u.live(now); err != nil {
				return err
			}
			again := u.State == Persisted && bytes.Equal(u.Fingerprint, fingerprint)
			if i > 0 && again != repeated || u.State == Persisted && !again {
				return Errorf(CodeConflict, "The upload %s was already made permanent by a different request.", token)
			}
			if repeated = again; again {
				for _, f := range u.Files {
					f.Metadata, f.Tags = u.Metadata, u.Tags
					files = append(files, f)
				}
				continue
			}
			if err := req.Expect.check(u); err != nil {
				return err
			}
			if !slices.EqualFunc(places[i], u.Parts, placement.holds) {
				return Errorf(CodeConflict, "The upload %s changed meanwhile; try again.", token)
			}
			var became []File
			for j, p := range places[i] {
				// Replace is about what was there before: of two contents that
				// come together neither may vanish.
				if wanted[p.path] && req.OnConflict != Rename {
					return Errorf(CodeConflict, "Two of these files would become %q; send on_conflict=rename to keep both.", p.path)
				}
				wanted[p.path] = true
				p.part = u.Parts[j]
				f, err := s.place(t, o, p, req.OnConflict, Condition{}, now)
				if err != nil {
					return err
				}
				became = append(became, f)
				marks = append(marks, mark{o, f.Path, p.stamp})
			}
			end := u.tombstone(Persisted, now.Add(s.ttl))
			end.Fingerprint, end.Metadata, end.Tags = fingerprint, req.Metadata, req.Tags
			for _, f := range became {
				f.Metadata, f.Tags = nil, nil
				end.Files = append(end.Files, f)
			}
			if err := t.changeUpload(u, end); err != nil {
				return err
			}
			files = append(files, became...)
		}
		return nil // the bytes counted before, too
	})
	if err != nil {
		return nil, false, err
	}
	failpoint.Hit("persist: committed")
	s.show(ctx, marks)
	return files, repeated, nil
}

// normalize checks the request and gives equal requests one form.
func (req *Persist) normalize() (err error) {
	if len(req.Tokens) == 0 {
		return FieldErrorf("tokens", "Name at least one upload by its token.")
	}
	if len(req.Tokens) > MaxTokens {
		return FieldErrorf("tokens", "At most %d uploads can be made permanent at once.", MaxTokens)
	}
	seen := map[Token]bool{}
	for _, token := range req.Tokens {
		if seen[token] {
			return FieldErrorf("tokens", "The token %s is named twice.", token)
		}
		seen[token] = true
	}
	if req.Folder, err = ParseFolder(req.Folder); err != nil {
		return err
	}
	if req.OnConflict == "" {
		req.OnConflict = Fail
	}
	if req.Metadata, err = CheckMetadata(req.Metadata); err != nil {
		return err
	}
	req.Tags, err = checkTags(req.Tags)
	return err
}

// fingerprint identifies the request; the order of the tokens does not count.
func (req Persist) fingerprint() ([]byte, error) {
	req.Tokens = slices.Clone(req.Tokens)
	slices.Sort(req.Tokens)
	b, err := json.Marshal(req)
	sum := sha256.Sum256(b)
	return sum[:], err
}

func (e Expect) check(u Upload) error {
	if u.State != Ready {
		return Errorf(CodeConflict, "The upload %s is not complete yet; finish it first.", u.Token)
	}
	if u.Growth != nil && u.Growth.Partial {
		return Errorf(CodeConflict, "The upload %s is only a part; concatenate it with the others first.", u.Token)
	}
	if e.Purpose != "" && e.Purpose != u.Purpose {
		return Errorf(CodeConflict, "The upload %s was not made for this purpose.", u.Token)
	}
	if e.SHA256 != "" && len(u.Parts) == 1 && u.Parts[0].SHA256 == nil {
		return Errorf(CodeConflict, "The SHA-256 of the upload %s is not known yet; try again later.", u.Token)
	}
	if e.SHA256 != "" && (len(u.Parts) != 1 || hex.EncodeToString(u.Parts[0].SHA256) != e.SHA256) {
		return Errorf(CodeConflict, "The content of the upload %s is not the expected one.", u.Token)
	}
	return nil
}

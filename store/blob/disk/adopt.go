package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"upload-service/store/blob"
)

// Adopt implements blob.Adopter.
func (s *Store) Adopt(ctx context.Context, root *os.Root, files []blob.Existing) []error {
	errs := make([]error, len(files))
	// 1. The names.
	for i, f := range files {
		errs[i] = s.adopt(ctx, root, f)
	}
	// 2. The files become durable, read-only as they are now. On most volumes
	// the first of these syncs does the work of all.
	var linked []blob.Ref
	for i, f := range files {
		if errs[i] != nil {
			continue
		}
		if err := s.calls.flush(filepath.FromSlash(string(f.Ref))); err != nil {
			_, undone := s.Delete(context.WithoutCancel(ctx), f.Ref)
			errs[i] = errors.Join(wrap("sync blob", f.Ref, err), undone)
			continue
		}
		linked = append(linked, f.Ref)
	}
	// 3. So do the names: one sync for each folder.
	failed := map[string]error{}
	for _, epoch := range epochs(linked) {
		if err := s.shared.sync(epoch); err != nil {
			failed[epoch] = fmt.Errorf("sync epoch %s: %w", epoch, err)
		}
	}
	for i, f := range files {
		if err := failed[f.Ref.Epoch()]; err != nil && errs[i] == nil {
			_, undone := s.Delete(context.WithoutCancel(ctx), f.Ref)
			errs[i] = errors.Join(err, undone)
		}
	}
	return errs
}

// adopt links one file; the name is not durable yet.
func (s *Store) adopt(ctx context.Context, root *os.Root, f blob.Existing) error {
	file, err := name(f.Ref)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return wrap("adopt blob", f.Ref, err)
	}
	// 1. A link needs one root that sees both names.
	above, err := filepath.Abs(root.Name())
	if err != nil {
		return wrap("adopt blob", f.Ref, err)
	}
	to, err := filepath.Rel(above, filepath.Join(s.dir, file))
	if err != nil || !filepath.IsLocal(to) {
		return wrap("adopt blob", f.Ref, blob.ErrNoLink)
	}
	// 2. The link. That the file is gone must not look like a missing folder.
	_, err = s.create(file, f.Ref.Epoch(), func(string) (*os.File, error) {
		if now, err := root.Lstat(f.Name); err != nil || !os.SameFile(f.Info, now) {
			return nil, blob.ErrNotExist
		}
		return nil, s.calls.link(root, f.Name, to)
	})
	if cannotLink(err) {
		err = fmt.Errorf("%w: %w", blob.ErrNoLink, err)
	}
	if err != nil {
		return wrap("adopt blob", f.Ref, err)
	}
	// 3. Is it the right file, and can it be protected?
	info, err := s.StatFile(f.Ref)
	switch {
	case err == nil && !os.SameFile(f.Info, info):
		err = blob.ErrNotExist
	case err == nil:
		err = s.calls.protect(file, f.Info.Mode())
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: %w", blob.ErrNoLink, err)
		}
	}
	if err != nil {
		_, undone := s.Delete(context.WithoutCancel(ctx), f.Ref)
		return errors.Join(wrap("adopt blob", f.Ref, err), undone)
	}
	return nil
}

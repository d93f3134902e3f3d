package store

import (
	"errors"
	"fmt"
	"time"
)

// Code names a kind of failure for machines. Which HTTP status it becomes is
// decided in one table, in package handlers.
type Code string

// Every code a client can see. The page /docs/errors explains each.
const (
	CodeInvalid          Code = "invalid"               // the request makes no sense
	CodeTruncated        Code = "truncated"             // the body ended early
	CodeBadDigest        Code = "bad_digest"            // the bytes do not match the declared digest
	CodeUnauthenticated  Code = "unauthenticated"       // who are you?
	CodeForbidden        Code = "forbidden"             // I know who you are: no
	CodeNotFound         Code = "not_found"             // also for what the caller may not know exists
	CodeMethodNotAllowed Code = "method_not_allowed"    //
	CodeTimeout          Code = "timeout"               // the client stopped sending
	CodeConflict         Code = "conflict"              // the state does not allow it
	CodeGone             Code = "gone"                  // it existed and has expired or was removed
	CodeLengthRequired   Code = "length_required"       //
	CodePrecondition     Code = "precondition_failed"   // If-Match, If-None-Match
	CodeTooLarge         Code = "too_large"             // beyond a fixed limit: never retry
	CodeHeaderTooLarge   Code = "header_too_large"      // request line and header fields
	CodeQuotaExceeded    Code = "quota_exceeded"        // beyond the owner's quota: never retry unchanged
	CodeUnsupportedType  Code = "unsupported_type"      //
	CodeRange            Code = "range_not_satisfiable" //
	CodeLocked           Code = "locked"                // somebody else is at it right now
	CodeBadChecksum      Code = "bad_checksum"          // a piece does not match its checksum
	CodeRateLimited      Code = "rate_limited"          // slow down
	CodeInternal         Code = "internal"              // our fault
	CodeUnavailable      Code = "unavailable"           // something we need is not there now
	CodeFull             Code = "full"                  // the disk has reached its reserve
)

// Error is the one error type that reaches a client. Code is for machines,
// Message for the person (one sentence that says what to do, safe to show),
// Field names the part of the request it is about, and Err is the cause: it
// goes to the log and never to the client.
type Error struct {
	Code       Code          `json:"code"`
	Message    string        `json:"message"`
	Field      string        `json:"field,omitempty"`       // "" if it concerns no single field
	RetryAfter time.Duration `json:"retry_after,omitempty"` // 0 if waiting does not help
	Limit      int64         `json:"limit,omitempty"`       // bytes that something goes beyond, 0 if that is not the reason
	Err        error         `json:"-"`                     // nil if the message says all
}

// Error formats the error for the log and for commands, with its cause. The code
// is for programs, and a field of its own in the log of requests.
func (e *Error) Error() string {
	s := e.Message
	if e.Field != "" {
		s = e.Field + ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error without a cause.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// FieldErrorf makes an invalid-request Error about one field.
func FieldErrorf(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// TooLarge makes an Error about what may have at most limit bytes, which the
// message names.
func TooLarge(format string, limit int64) *Error {
	return &Error{Code: CodeTooLarge, Limit: limit, Message: fmt.Sprintf(format, limit)}
}

// WithCause returns a copy of e that carries err for the log.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// CodeOf returns the code of the first Error in err's chain, CodeInternal if
// there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

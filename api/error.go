// SPDX-License-Identifier: Apache-2.0

package api

// Code classifies an [Error]; clients branch on it.
type Code string

const (
	CodeBadRequest  Code = "bad_request" // the request is malformed or names something unknown
	CodeNotFound    Code = "not_found"   // no such path
	CodeForbidden   Code = "forbidden"   // the peer may not do this
	CodeConflict    Code = "conflict"    // another owner, a quarantine, too many at once
	CodeUnsupported Code = "unsupported" // not possible on this machine
	CodeFailed      Code = "failed"      // tried and did not succeed
	CodeUnavailable Code = "unavailable" // shutting down, or too many connections
)

// Exit codes of the autosa command.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2 // usage or configuration
	ExitNoDaemon    = 3
	ExitForbidden   = 4
	ExitConflict    = 5
	ExitUnsupported = 6
)

// Error is the body of every answer that is not a success.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// ExitCode is the exit code of a command that ends with this error.
func (e *Error) ExitCode() int {
	switch e.Code {
	case CodeBadRequest, CodeNotFound:
		return ExitUsage
	case CodeForbidden:
		return ExitForbidden
	case CodeConflict:
		return ExitConflict
	case CodeUnsupported:
		return ExitUnsupported
	}
	return ExitFailed
}

// HTTPStatus is the HTTP status that carries this error.
func (e *Error) HTTPStatus() int {
	switch e.Code {
	case CodeBadRequest:
		return 400
	case CodeForbidden:
		return 403
	case CodeNotFound:
		return 404
	case CodeConflict:
		return 409
	case CodeUnsupported:
		return 501
	case CodeUnavailable:
		return 503
	}
	return 500
}

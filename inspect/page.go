package inspect

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/redstart-go/redstart/internal/core"
)

// Page selects a part of a list. The zero value is the first page, of about 50 items.
type Page struct {
	// Cursor is the Next of the page before. Empty: the first page.
	Cursor string `json:"cursor,omitempty"`
	// Limit ends the page after this many items. From 1 to 500; 0 for 50. A page has more items if
	// one step of the scan finds more: at most 1,000 more.
	Limit int `json:"limit,omitempty"`
}

const (
	defaultLimit = 50
	maxLimit     = 500
)

// List is one page of a list.
type List[T any] struct {
	Items []T `json:"items"`
	// Next is the Cursor of the following page. Empty: this is the last page. A page may be empty
	// and have a Next: then the call examined as many keys as one call may.
	Next string `json:"next,omitempty"`
	// Scanned is about how many keys the call examined.
	Scanned int `json:"scanned"`
	// Complete reports that the call began at the first page and reached the end of the list.
	Complete bool `json:"complete"`
	// Problems are the parts of the list that could not be read, such as a partition whose node
	// does not answer. Their items are missing, also in the pages that follow. At most 16.
	Problems []string `json:"problems,omitempty"`
}

// maxProblems bounds List.Problems.
const maxProblems = 16

// limit returns the checked limit of a page.
func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return defaultLimit, nil
	case p.Limit < 0 || p.Limit > maxLimit:
		return 0, fmt.Errorf("inspect: Page.Limit is %d: it must be from 1 to %d, or 0 for %d", p.Limit, maxLimit, defaultLimit)
	}
	return p.Limit, nil
}

// cursorOf returns a cursor: the kind of the list, and where it continues. The parts may hold any
// bytes except 0.
func cursorOf(kind string, parts ...string) string {
	text := kind + "\x00" + strings.Join(parts, "\x00")
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// maxCursor bounds a cursor, in bytes.
const maxCursor = 4096

// partsOf returns the n parts of a cursor of a kind of list. An empty cursor has no parts: then
// partsOf returns nil.
func partsOf(cursor, kind string, n int) ([]string, error) {
	if cursor == "" {
		return nil, nil
	}
	if len(cursor) > maxCursor {
		return nil, ErrBadCursor
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, ErrBadCursor
	}
	parts := strings.Split(string(text), "\x00")
	if len(parts) != n+1 || parts[0] != kind {
		return nil, ErrBadCursor
	}
	return parts[1:], nil
}

// scanPosition returns where the scan of a page begins.
func scanPosition(p Page, kind string) (core.ScanPosition, error) {
	parts, err := partsOf(p.Cursor, kind, 2)
	if err != nil || parts == nil {
		return core.ScanPosition{}, err
	}
	if strings.Trim(parts[1], "0123456789") != "" || len(parts[1]) > 20 {
		return core.ScanPosition{}, ErrBadCursor
	}
	return core.ScanPosition{Node: parts[0], Cursor: parts[1]}, nil
}

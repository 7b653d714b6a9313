package shop

import (
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"
)

// UserChange is a change of a user. A nil field stays the same.
type UserChange struct {
	Email, Name *string
}

// Invalid is the error of an input: the field and the rule that it violates.
type Invalid struct {
	Field, Rule string
}

func (e *Invalid) Error() string { return fmt.Sprintf("shop: %s %s", e.Field, e.Rule) }

const (
	maxName  = 100 // characters
	maxEmail = 254 // bytes: the longest deliverable address, RFC 5321
)

// checked returns the change as it will be stored, or an *Invalid.
func (c UserChange) checked() (UserChange, error) {
	if c.Name == nil && c.Email == nil {
		return c, &Invalid{"name, email", "are both missing: nothing to change"}
	}
	if c.Name != nil {
		name := strings.TrimSpace(*c.Name)
		if err := checkName(name); err != nil {
			return c, err
		}
		c.Name = &name
	}
	if c.Email != nil {
		email := normalEmail(*c.Email)
		if err := checkEmail(email); err != nil {
			return c, err
		}
		c.Email = &email
	}
	return c, nil
}

const (
	minPassword = 8   // characters
	maxPassword = 128 // bytes, because hashing a longer password only costs time
)

func checkPassword(password string) error {
	switch {
	case utf8.RuneCountInString(password) < minPassword:
		return &Invalid{"password", fmt.Sprintf("must have at least %d characters", minPassword)}
	case len(password) > maxPassword:
		return &Invalid{"password", fmt.Sprintf("must have at most %d bytes", maxPassword)}
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return &Invalid{"name", "must not be empty"}
	case utf8.RuneCountInString(name) > maxName:
		return &Invalid{"name", fmt.Sprintf("must have at most %d characters", maxName)}
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return &Invalid{"name", "must not contain control characters"}
	}
	return nil
}

func checkEmail(email string) error {
	parsed, err := mail.ParseAddress(email)
	if err != nil || parsed.Address != email || len(email) > maxEmail {
		return &Invalid{"email", fmt.Sprintf("must be an email address of at most %d bytes", maxEmail)}
	}
	return nil
}

// normalEmail returns the form in which an address is stored, cached and searched.
func normalEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

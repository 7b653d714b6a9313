module github.com/redstart-go/redstart/service

go 1.26.0

replace github.com/redstart-go/redstart => ../

require golang.org/x/crypto v0.58.0

require golang.org/x/sys v0.49.0 // indirect

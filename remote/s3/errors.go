package s3

import (
	"errors"
	"fmt"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/dbfs/dbfs"
)

// statusOf returns the HTTP status that an error came with; zero if there was no answer.
func statusOf(err error) int {
	var re *awshttp.ResponseError
	if errors.As(err, &re) {
		return re.HTTPStatusCode()
	}
	return 0
}

// failed says what went wrong in the words of package dbfs. Whatever keeps the server from
// its store, credentials included, is to clients a store that cannot be reached.
func (s *Store) failed(what, name string, err error) error {
	kind := dbfs.ErrOffline
	switch statusOf(err) {
	case http.StatusNotFound:
		kind = dbfs.ErrNotExist
	case http.StatusPreconditionFailed:
		kind = dbfs.ErrExist
	}
	return fmt.Errorf("%s object %s: %w: %w", what, name, kind, err)
}

// diagnose says in one line what is wrong with a bucket, for the person who set it up.
func (s *Store) diagnose(err error) error {
	where := fmt.Sprintf("S3 bucket %q", s.opts.Bucket)
	if s.opts.Endpoint != "" {
		where += " at " + s.opts.Endpoint
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "NoSuchBucket":
			return fmt.Errorf("%s: %w: create it first", where, dbfs.ErrNotExist)
		case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch":
			return fmt.Errorf("%s: %w: wrong credentials, or they do not allow to list, read and write it (%s)", where, dbfs.ErrForbidden, api.ErrorCode())
		case "PermanentRedirect", "AuthorizationHeaderMalformed":
			return fmt.Errorf("%s: %w: it is in another region; say which with region= (%s)", where, dbfs.ErrInvalid, api.ErrorMessage())
		}
		if status := statusOf(err); status >= 400 && status < 500 {
			return fmt.Errorf("%s: %w: %s (%s)", where, dbfs.ErrForbidden, api.ErrorMessage(), api.ErrorCode())
		}
	}
	return fmt.Errorf("%s: %w: %w", where, dbfs.ErrOffline, err)
}

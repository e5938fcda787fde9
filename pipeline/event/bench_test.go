package event

import (
	"encoding/json"
	"testing"

	"github.com/bytedance/sonic"
)

// typedRecord is what a program that decodes the whole record would declare:
// the struct that the parser's cost is compared with.
type typedRecord struct {
	EventID            string         `json:"eventId"`
	EventName          string         `json:"eventName"`
	EventType          string         `json:"eventType"`
	EventTime          string         `json:"eventTime"`
	EventSource        string         `json:"eventSource"`
	EventVersion       string         `json:"eventVersion"`
	EventRW            string         `json:"eventRW"`
	EventCategory      string         `json:"eventCategory"`
	ServiceName        string         `json:"serviceName"`
	AcsRegion          string         `json:"acsRegion"`
	RequestID          string         `json:"requestId"`
	SourceIP           string         `json:"sourceIpAddress"`
	UserAgent          string         `json:"userAgent"`
	APIVersion         string         `json:"apiVersion"`
	ErrorCode          string         `json:"errorCode"`
	ErrorMessage       string         `json:"errorMessage"`
	RecipientAccountID string         `json:"recipientAccountId"`
	IsGlobal           bool           `json:"isGlobal"`
	ParamJSON          string         `json:"requestParameterJson"`
	ResourceType       string         `json:"resourceType"`
	ResourceName       string         `json:"resourceName"`
	UserIdentity       typedIdentity  `json:"userIdentity"`
	Params             typedParams    `json:"requestParameters"`
	Response           typedResponse  `json:"responseElements"`
	Extra              typedExtra     `json:"additionalEventData"`
	Resources          typedResources `json:"referencedResources"`
}

type typedIdentity struct {
	Type        string `json:"type"`
	AccountID   string `json:"accountId"`
	PrincipalID string `json:"principalId"`
	UserName    string `json:"userName"`
	AccessKeyID string `json:"accessKeyId"`
	Session     struct {
		Attributes struct {
			MFA     string `json:"mfaAuthenticated"`
			Created string `json:"creationDate"`
		} `json:"attributes"`
	} `json:"sessionContext"`
}

type typedParams struct {
	Caller string `json:"stsTokenPlayerUid"`
	Name   string `json:"UserName"`
	UPN    string `json:"UserPrincipalName"`
	Role   string `json:"RoleName"`
	Policy string `json:"PolicyName"`
}

type typedResponse struct {
	RequestID string `json:"RequestId"`
}

type typedExtra struct {
	MFA     string `json:"mfaChecked"`
	RootMFA string `json:"isMFAChecked"`
}

type typedResources struct {
	Instances []string `json:"ACS::ECS::Instance"`
}

// benchRecord is an everyday read by a role session, in the size and shape in
// which a trail delivers it to SLS: the parameters stand in it twice.
var benchRecord = func() []byte {
	params := `{"RegionId":"cn-hangzhou","AcsHost":"ecs-openapi-share.cn-hangzhou.aliyuncs.com","AcsProduct":"Ecs",` +
		`"RequestId":"7F3C2A90-1B2D-5E4F-8A6B-0C1D2E3F4A5B","HostId":"ecs-openapi-share.cn-hangzhou.aliyuncs.com","PageSize":"50",` +
		`"PageNumber":"3","ClientPort":41822,"X-Acs-Client-Tls-Version":"TLSv1.2","stsTokenPlayerUid":"1000000000000002",` +
		`"stsTokenPrincipalName":"ops-reader/inventory-7","VpcId":"vpc-synthetic000000001","Tag.1.Key":"team","Tag.1.Value":"payments"}`
	quoted, err := json.Marshal(params)
	if err != nil {
		panic(err)
	}
	return []byte(`{"eventId":"7F3C2A90-1B2D-5E4F-8A6B-0C1D2E3F4A5B","eventVersion":"1","eventName":"DescribeInstances","eventType":"ApiCall",` +
		`"eventTime":"2026-01-05T08:15:42Z","eventSource":"ecs-openapi-share.cn-hangzhou.aliyuncs.com","eventCategory":"Management","eventRW":"Read",` +
		`"serviceName":"Ecs","acsRegion":"cn-hangzhou","requestId":"7F3C2A90-1B2D-5E4F-8A6B-0C1D2E3F4A5B","sourceIpAddress":"203.0.113.77",` +
		`"userAgent":"AlibabaCloud (Linux; amd64) Java/1.8.0_252-b09 Core/4.6.0 HTTPClient/ApacheHttpClient","apiVersion":"2014-05-26",` +
		`"userIdentity":{"type":"assumed-role","accountId":"1000000000000001","principalId":"300000000000000007:inventory-7",` +
		`"userName":"ops-reader:inventory-7","accessKeyId":"STS.EXAMPLEinventory0000000000000001",` +
		`"sessionContext":{"attributes":{"mfaAuthenticated":"false","creationDate":"2026-01-05T08:00:00Z"}}},` +
		`"requestParameters":` + params + `,"requestParameterJson":` + string(quoted) +
		`,"responseElements":{"RequestId":"7F3C2A90-1B2D-5E4F-8A6B-0C1D2E3F4A5B"},"additionalEventData":{"Scheme":"https","CallerBid":"26842"},` +
		`"referencedResources":{"ACS::ECS::Instance":["i-synthetic00000000001","i-synthetic00000000002"]},"resourceType":"ACS::ECS::Instance",` +
		`"resourceName":"i-synthetic00000000001,i-synthetic00000000002","recipientAccountId":"1000000000000001","isGlobal":false}`)
}()

func BenchmarkParse(b *testing.B) {
	report := func(b *testing.B) {
		b.SetBytes(int64(len(benchRecord)))
		b.ReportAllocs()
	}
	b.Run("reused", func(b *testing.B) {
		report(b)
		var p Parser
		ev := new(Event)
		for b.Loop() {
			if err := p.Parse(benchRecord, ev); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		report(b)
		for b.Loop() {
			if _, err := Parse(benchRecord); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sonic-struct-reused", func(b *testing.B) {
		report(b)
		s := string(benchRecord)
		var r typedRecord
		for b.Loop() {
			if err := sonic.ConfigFastest.UnmarshalFromString(s, &r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sonic-valid", func(b *testing.B) {
		report(b)
		for b.Loop() {
			if !sonic.ConfigFastest.Valid(benchRecord) {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("encoding-json-struct", func(b *testing.B) {
		report(b)
		var r typedRecord
		for b.Loop() {
			if err := json.Unmarshal(benchRecord, &r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkParam(b *testing.B) {
	ev, err := Parse(benchRecord)
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"RegionId", "PageSize", "Tag.1.Key", "NotThere"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ev.Param(name)
			}
		})
	}
}

func BenchmarkUnwrapPlain(b *testing.B) {
	b.SetBytes(int64(len(benchRecord)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Unwrap(benchRecord, func([]byte) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDedupKey(b *testing.B) {
	ev, err := Parse(benchRecord)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		ev.DedupKey()
	}
}

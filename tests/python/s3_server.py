"""moto's S3 on a free port of loopback, with one bucket and one user, for tests.

Prints one line of JSON: port, bucket, accessKeyId, secretAccessKey. A line "away" on standard input makes it stop listening, "back"
makes it listen again, on the same port and with all that it holds; each is answered by the same word. The end of standard
input ends it.
"""

import json
import sys
import threading

import boto3
from moto import settings
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

HOST, BUCKET, USER = "127.0.0.1", "lockstep", "lockstep"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


class OneAtATime:
    """Real S3 looks and writes in one step; moto does only if nobody comes in between."""

    def __init__(self, application):
        self.application, self.lock = application, threading.Lock()

    def __call__(self, environ, start_response):
        with self.lock:
            return self.application(environ, start_response)


class Server:
    def __init__(self):
        self.application = OneAtATime(DomainDispatcherApplication(create_backend_app))
        self.port = 0
        self.back()

    def back(self):
        self.server = make_server(HOST, self.port, self.application, threaded=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def away(self):
        self.server.shutdown()
        self.server.server_close()

    def populate(self):
        """The bucket and the user; from then on every request must be signed with the user's keys."""
        common = {"endpoint_url": f"http://{HOST}:{self.port}", "region_name": "us-east-1"}
        common.update(aws_access_key_id="nobody", aws_secret_access_key="nothing")
        boto3.client("s3", **common).create_bucket(Bucket=BUCKET)
        iam = boto3.client("iam", **common)
        iam.create_user(UserName=USER)
        iam.put_user_policy(UserName=USER, PolicyName="all", PolicyDocument=json.dumps(POLICY))
        key = iam.create_access_key(UserName=USER)["AccessKey"]
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
        return {"accessKeyId": key["AccessKeyId"], "secretAccessKey": key["SecretAccessKey"]}


def main():
    server = Server()
    print(json.dumps({"port": server.port, "bucket": BUCKET, **server.populate()}), flush=True)
    for line in sys.stdin:
        word = line.strip()
        {"away": server.away, "back": server.back}[word]()
        print(word, flush=True)


main()

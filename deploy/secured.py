"""What a secured stand has besides: certificates made by itself, TLS on every port, and logins.

  etcd     asks for a client certificate and a login; etcd2 for a login only
  kafka    "main": SASL_SSL, "login": SASL_PLAINTEXT, "mutual": SSL with client certificates
  pulsar   "main": TLS, "plain": none; both ask for a token, "main" takes a client certificate instead
  minio    TLS
  source   TLS and a token; on the secured queue and etcd
  target   TLS with client certificates and a token
"""

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import shutil
import socket
import ssl
import subprocess
from functools import cached_property

USER, PASSWORD = "tapedeck", "tapedeck-password"
ROOT_PASSWORD = "etcd-password"
# may do everything in Pulsar
MILVUS_ROLE = "milvus"
# file -> (who signs it, whose it is, what for)
CERTIFICATES = {
    "server": ("ca", "/O=stand", "server"),
    # etcd takes the name in a certificate for that of its user: Milvus 2.3 has no other way to log in
    "milvus": ("ca", "/CN=root", "client"),
    "client": ("ca", "/CN=client", "client"),
    "stranger": ("other-ca", "/CN=client", "client"),
}
OPENSSL = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
[server]
basicConstraints = CA:FALSE
subjectAltName = IP:127.0.0.1, DNS:localhost
extendedKeyUsage = serverAuth, clientAuth
[client]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth
"""


def make_certificates(folder):
    """Two authorities, of which only "ca" is trusted by the services, and what they signed."""
    if folder.exists():
        return
    draft = folder.with_name(".certificates")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    (draft / "openssl.cnf").write_text(OPENSSL)

    def make(name, subject, section, *signed):
        # Pulsar 3.0 reads no keys but RSA
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
                        "-days", "30", "-config", "openssl.cnf", "-subj", subject, "-extensions", section,
                        "-keyout", f"{name}.key", "-out", f"{name}.pem", *signed],
                       cwd=draft, check=True, capture_output=True)

    for authority in ("ca", "other-ca"):
        make(authority, f"/CN={authority}", "authority")
    for name, (authority, subject, section) in CERTIFICATES.items():
        make(name, subject, section, "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key")
    # the forms that Kafka and MinIO want
    (draft / "server.both").write_text((draft / "server.key").read_text() + (draft / "server.pem").read_text())
    (draft / "minio").mkdir()
    shutil.copy(draft / "server.pem", draft / "minio/public.crt")
    shutil.copy(draft / "server.key", draft / "minio/private.key")
    # what the tokens of Pulsar are signed with
    (draft / "pulsar.secret").write_bytes(secrets.token_bytes(32))
    draft.rename(folder)


class Secured:
    """Comes before Stand, and says where the two differ."""

    scheme = "https"

    @property
    def certificates(self):
        return self.dir / "certificates"

    @cached_property
    def tls(self):
        """For this program's own questions. etcd's HTTP gateway refuses certificates that name a user."""
        context = ssl.create_default_context(cafile=self.certificates / "ca.pem")
        context.load_cert_chain(self.certificates / "server.both")
        return context

    def prepare(self):
        make_certificates(self.certificates)

    def parts(self, name):
        return super().parts(name) + {"kafka": ["login", "mutual"], "pulsar": ["plain"]}.get(name, [])

    def description(self):
        places = {"etcd_one_way": ("etcd2", "main"), "kafka_login": ("kafka", "login"),
                  "kafka_mutual": ("kafka", "mutual"), "pulsar_plain": ("pulsar", "plain")}
        addresses = {key: self.address(*place) for key, place in places.items() if place[0] in self.ports}
        return super().description() | {"secured": {
            "certificates": str(self.certificates), "user": USER, "password": PASSWORD, **addresses}}

    # -- etcd

    def etcd_options(self, name):
        files = self.certificates
        options = ["--cert-file", files / "server.pem", "--key-file", files / "server.key"]
        return options + (["--client-cert-auth", "--trusted-ca-file", files / "ca.pem"] if name == "etcd" else [])

    def ready_etcd(self, name):
        return super().ready_etcd(name) and self.has_users(name)

    def has_users(self, name):
        """Users of etcd are made once; from then on it asks for a login."""
        done = self.dir / name / "users"
        if done.exists():
            return True
        span = {"key": encoded("source/"), "range_end": encoded("source0")}
        for path, body in [
            ("user/add", {"name": "root", "password": ROOT_PASSWORD}),
            ("role/add", {"name": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("role/add", {"name": "reader"}),
            ("role/grant", {"name": "reader", "perm": {"permType": "READ", **span}}),
            ("user/add", {"name": USER, "password": PASSWORD}),
            ("user/grant", {"user": USER, "role": "reader"}),
            ("user/add", {"name": "nobody", "password": PASSWORD}),
            ("enable", {}),
        ]:
            self.ask(f"{self.url(name)}/v3/auth/{path}", body)
        done.touch()
        return True

    def etcd_token(self):
        login = {"name": "root", "password": ROOT_PASSWORD}
        return json.loads(self.ask(f"{self.url('etcd')}/v3/auth/authenticate", login))["token"]

    # -- kafka

    def kafka_listeners(self, name):
        files = self.certificates
        plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        listeners = {"MAIN": "main", "LOGIN": "login", "MUTUAL": "mutual", "CONTROLLER": "controller"}
        return [
            "listeners=" + ",".join(f"{label}://{self.address(name, part)}" for label, part in listeners.items()),
            "listener.security.protocol.map=MAIN:SASL_SSL,LOGIN:SASL_PLAINTEXT,MUTUAL:SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name=MUTUAL",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.login.sasl.enabled.mechanisms=PLAIN",
            f"listener.name.login.plain.sasl.jaas.config={plain}",
            f"listener.name.main.plain.sasl.jaas.config={plain}",
            f"listener.name.main.scram-sha-256.sasl.jaas.config={scram}",
            f"listener.name.main.scram-sha-512.sasl.jaas.config={scram}",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={files / 'server.both'}",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={files / 'ca.pem'}",
            "listener.name.mutual.ssl.client.auth=required",
        ]

    def format_kafka(self, home, cluster):
        """Users of SCRAM can be made without a login only here."""
        users = [part for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
                 for part in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]")]
        subprocess.run(["java", "-XX:TieredStopAtLevel=1", "-cp", f"{self.cache}/kafka/jars/*", "kafka.tools.StorageTool",
                        "format", "-t", cluster, "-c", home / "server.properties", *users],
                       check=True, capture_output=True)

    def kafka_connection(self):
        _, _, port = self.address("kafka", "mutual").rpartition(":")
        connection = socket.create_connection(("127.0.0.1", int(port)), timeout=3)
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            secured = self.tls.wrap_socket(connection, server_hostname="127.0.0.1")
            stack.pop_all()
        return secured

    # -- pulsar

    def pulsar_listeners(self, name):
        files, providers = self.certificates, "org.apache.pulsar.broker.authentication.AuthenticationProvider"
        return [
            f"brokerServicePort={self.ports[name]['plain']}",
            f"brokerServicePortTls={self.ports[name]['main']}",
            f"tlsCertificateFilePath={files / 'server.pem'}",
            f"tlsKeyFilePath={files / 'server.key'}",
            f"tlsTrustCertsFilePath={files / 'ca.pem'}",
            # who has no certificate needs a token
            "tlsRequireTrustedClientCertOnConnect=false",
            "authenticationEnabled=true",
            f"authenticationProviders={providers}Token,{providers}Tls",
            f"tokenSecretKey=file://{files / 'pulsar.secret'}",
            "authenticationRefreshCheckSeconds=2",
            "authorizationEnabled=true",
            f"superUserRoles={MILVUS_ROLE}",
            "brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken",
            f"brokerClientAuthenticationParameters=token:{self.pulsar_token()}",
        ]

    def pulsar_url(self):
        return f"pulsar+ssl://{self.address('pulsar')}"

    def pulsar_token(self):
        secret = (self.certificates / "pulsar.secret").read_bytes()
        signed = ".".join(map(in_token, ('{"alg":"HS256"}', json.dumps({"sub": MILVUS_ROLE}))))
        return f"{signed}.{in_token(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    def ask_pulsar(self, path, body=None):
        url = f"http://{self.address('pulsar', 'web')}/admin/v2/{path}"
        return self.ask(url, body, f"Bearer {self.pulsar_token()}")

    def ready_pulsar(self, name):
        return super().ready_pulsar(name) and self.may_read()

    def may_read(self):
        """tapedeck, and nothing else, whichever way it logs in."""
        for role in (USER, "client"):
            self.ask_pulsar(f"namespaces/public/default/permissions/{role}", ["consume"])
        return True

    # -- minio

    def minio_options(self):
        return ["--certs-dir", self.certificates / "minio"]

    # -- milvus

    def answers_milvus(self, name):
        """With TLS there is no HTTP on this port, and gRPC is not at hand."""
        return True

    def milvus_settings(self, name, home):
        files = self.certificates
        return super().milvus_settings(name, home) | {
            "etcd.ssl.enabled": "true",
            "etcd.ssl.tlsCert": files / "milvus.pem",
            "etcd.ssl.tlsKey": files / "milvus.key",
            "etcd.ssl.tlsCACert": files / "ca.pem",
            "tls.serverPemPath": files / "server.pem",
            "tls.serverKeyPath": files / "server.key",
            "tls.caPemPath": files / "ca.pem",
            "common.security.tlsMode": 1 if name == "source" else 2,
        }

    def milvus_environment(self):
        """Milvus' client of Pulsar trusts whom the system trusts."""
        return {"SSL_CERT_FILE": str(self.certificates / "ca.pem")}

    def milvus_pulsar(self):
        return ["  authPlugin: token", f"  authParams: token:{self.pulsar_token()}"]

    def milvus_kafka(self):
        authority = [f"  {side}: {{ssl: {{ca: {{location: {self.certificates / 'ca.pem'}}}}}}}"
                     for side in ("consumer", "producer")]
        return [f"  saslUsername: {USER}", f"  saslPassword: {PASSWORD}", "  saslMechanisms: PLAIN",
                "  securityProtocol: SASL_SSL", *authority]


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def in_token(part):
    return base64.urlsafe_b64encode(part if isinstance(part, bytes) else part.encode()).decode().rstrip("=")

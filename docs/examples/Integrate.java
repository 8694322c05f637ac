// Enroll a customer and verify a call. Java 17 or later, no libraries.
//
//     export VOICEAUTH_URL=http://127.0.0.1:8000 TELLER_TOKEN=… IVR_TOKEN=…
//     java Integrate.java enroll C-1001 one.wav two.wav three.wav
//     java Integrate.java verify C-1001 call.wav
//     java Integrate.java verify C-1001 call.ulaw mulaw        # samples without a header

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Integrate {
    static final String API = System.getenv().getOrDefault("VOICEAUTH_URL", "http://127.0.0.1:8000") + "/api/v1";
    static final Duration PATIENCE = Duration.ofSeconds(5); // a caller is waiting
    static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    record Answer(int status, String body) {
        /** A text, a number or a truth value of the answer. A program of yours has a JSON library for this. */
        String field(String name) {
            Matcher found = Pattern.compile("\"" + name + "\"\\s*:\\s*(?:\"([^\"]*)\"|([^,}\\]]+))").matcher(body);
            return !found.find() ? "" : found.group(1) != null ? found.group(1) : found.group(2).trim();
        }

        /** The texts of a list, with a space between them. */
        String list(String name) {
            Matcher found = Pattern.compile("\"" + name + "\"\\s*:\\s*\\[([^\\]{]*)\\]").matcher(body);
            return found.find() ? found.group(1).replace("\"", "").replace(",", " ").trim() : "";
        }
    }

    /**
     * Posts a body. A 503 or 429 is repeated after Retry-After, under the same key, so that nothing happens twice.
     * The status is 0 where there is no connection.
     */
    static Answer post(String token, String path, String type, byte[] body) throws InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(API + path))
            .timeout(Duration.ofSeconds(30))
            .header("Authorization", "Bearer " + System.getenv(token))
            .header("Idempotency-Key", UUID.randomUUID().toString())
            .header("Content-Type", type)
            .POST(HttpRequest.BodyPublishers.ofByteArray(body))
            .build();
        Instant deadline = Instant.now().plus(PATIENCE);
        while (true) {
            HttpResponse<String> response;
            try {
                response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
            } catch (IOException error) {
                return new Answer(0, "{\"code\": \"unreachable\"}");
            }
            long wait = response.headers().firstValueAsLong("Retry-After").orElse(0);
            if (wait == 0 || Instant.now().plusSeconds(wait).isAfter(deadline)) {
                return new Answer(response.statusCode(), response.body());
            }
            Thread.sleep(wait * 1000);
        }
    }

    static Answer form(String token, String path, String recording, Map<String, String> fields) throws Exception {
        String boundary = UUID.randomUUID().toString();
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        String part = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"%s\"%s\r\n\r\n";
        for (Map.Entry<String, String> each : fields.entrySet()) {
            body.write((part.formatted(each.getKey(), "") + each.getValue() + "\r\n").getBytes(StandardCharsets.UTF_8));
        }
        body.write(part.formatted("audio", "; filename=\"audio\"").getBytes(StandardCharsets.UTF_8));
        body.write(Files.readAllBytes(Path.of(recording)));
        body.write(("\r\n--" + boundary + "--\r\n").getBytes(StandardCharsets.UTF_8));
        return post(token, path, "multipart/form-data; boundary=" + boundary, body.toByteArray());
    }

    static void json(String path, String content, String harmless) throws InterruptedException {
        byte[] body = content.getBytes(StandardCharsets.UTF_8);
        Answer answer = post("TELLER_TOKEN", path, "application/json", body);
        if (answer.status() / 100 != 2 && !answer.field("code").equals(harmless)) refuse(answer);
    }

    static void refuse(Answer answer) {
        throw new IllegalStateException(answer.status() + " " + answer.field("code") + ": " + answer.field("message"));
    }

    static void enroll(String customer, String[] recordings) throws Exception {
        json("/customers", "{\"customer_id\": \"" + customer + "\"}", "customer_exists");
        json("/customers/" + customer + "/consent",
            "{\"purpose\": \"voice_authentication\", \"text_version\": \"2026-11\", \"origin\": \"branch\"}", "consent_exists");
        for (String recording : recordings) {
            Answer answer = form("TELLER_TOKEN", "/customers/" + customer + "/enrollments", recording, Map.of());
            if (answer.status() == 422) { // the recording will not do, and the message says why
                System.out.println(recording + ": record it again: " + answer.field("code") + ": " + answer.field("message"));
            } else if (answer.status() == 201) {
                String held = answer.list("held_for");
                System.out.println(recording + ": " + answer.field("state") + ", " + answer.field("remaining_seconds")
                    + " s of speech are missing" + (held.isEmpty() ? "" : ", held for " + held));
            } else {
                refuse(answer);
            }
        }
    }

    static void verify(String customer, String recording, String format) throws Exception {
        Map<String, String> fields = new LinkedHashMap<>(Map.of("customer_id", customer, "format", format));
        Answer answer = form("IVR_TOKEN", "/verify", recording, fields);
        if (answer.status() == 503 || answer.status() == 0) {
            System.out.println(answer.field("code") + ": nothing was decided. Next: another factor");
            return;
        }
        if (answer.status() != 200) refuse(answer);
        String next = switch (answer.field("decision")) {
            case "ACCEPT" -> answer.field("further_factor_required").equals("true") ? "a further factor" : "go on";
            case "INCONCLUSIVE", "NOT_ENOUGH_SPEECH" -> "ask the caller to speak again";
            default -> answer.field("fallback"); // REJECT, or SPEAKER_NOT_ENROLLED, …_OPTED_OUT, …_EXPIRED
        };
        System.out.println((answer.field("decision") + " " + answer.list("reasons")).trim() + ". Next: " + next);
        if (answer.field("level").equals("HIGH_RISK")) {
            Matcher codes = Pattern.compile("\"code\"\\s*:\\s*\"(\\w+)\"").matcher(answer.body());
            System.out.println("High risk of fraud: " + String.join(" ", codes.results().map(m -> m.group(1)).toList()));
        }
        System.out.println("Decision " + answer.field("decision_id")); // keep it: a reviewer finds the call by it
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("enroll")) {
            enroll(arguments[1], Arrays.copyOfRange(arguments, 2, arguments.length));
        } else {
            verify(arguments[1], arguments[2], arguments.length > 3 ? arguments[3] : "");
        }
    }
}
